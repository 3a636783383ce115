"""The trials of a search, in this process or in others; what ends another process is the outcome of its trial."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from lrscout.engine.trials.requests import (
    MALLOC,
    Attempt,
    Estimate,
    Inspect,
    ShapeEstimate,
    TargetFacts,
    TimedSteps,
    TimeSize,
    TimeStep,
    TrySize,
    make_bench,
)
from lrscout.errors import LrscoutError, UsageError, WorkloadError, summary
from lrscout.processes.deaths import Died, WorkerDiedError
from lrscout.processes.executor import Executor, InProcess
from lrscout.processes.messages import A, Limits, Request
from lrscout.processes.pool import WorkerPool
from lrscout.processes.start import make_starter
from lrscout.results import CommandTarget, GradientNoise, LoaderTiming, LrRecord, Outcome, Target, Trial
from lrscout.runs.batch_size.command import CommandTrials
from lrscout.runs.batch_size.noise import MeasureNoise
from lrscout.runs.batch_size.rate import MeasureRate, find_lr_settings
from lrscout.runs.programs import OnOutput
from lrscout.settings import FindBatchSizeSettings

if TYPE_CHECKING:
    from lrscout.engine.trials.bench import Bench


class Trials(Protocol):
    """Runs the trials of a search, and looks at what is tried."""

    def inspect(self) -> TargetFacts:
        """Look at what is to be trained, before any trial.

        Raises:
            LrscoutError: what made that impossible.
        """

    def estimate(self, longest: int | None) -> ShapeEstimate:
        """What a step would take; nothing is run.

        Raises:
            LrscoutError: that cannot be told.
        """

    def run(self, batch_size: int, limit_bytes: int | None, longest: int | None, evaluates: bool = False) -> Attempt:
        """Run a trial."""

    def time(self, batch_size: int, evaluates: bool = False) -> TimedSteps:
        """Time some steps of a size that fits, without a limit; may be asked for again, and for other sizes in between.

        Raises:
            LrscoutError: that failed.
        """

    @property
    def overhead(self) -> float:
        """The seconds that each `time` takes beside its steps, as far as that is known."""

    def noise(self, batch_size: int, dataset: int | None, seconds: float) -> GradientNoise | None:
        """The noise of the gradients in a short training on a data set of so many samples; None if it took longer.

        Raises:
            LrscoutError: that failed.
        """

    def rate(self, batch_size: int) -> LrRecord:
        """Search for the learning rate at this size, as find-lr does.

        Raises:
            LrscoutError: that failed.
        """

    def close(self) -> None:
        """End all processes."""


def open_trials(
    settings: FindBatchSizeSettings,
    target: Target | CommandTarget,
    found: Any,
    on_wait: Callable[[], None],
    on_output: OnOutput | None = None,
) -> Trials:
    """Get ready for the trials of a target: a path is tried in other processes unless the settings forbid it.

    `found` is the object that the path names, or what was handed over in Python. `on_output` receives each line that a
    training command prints, in another thread.

    Raises:
        UsageError: live objects cannot go to another process, or this is one already; a setting has no meaning here.
    """
    if isinstance(target, CommandTarget):
        return CommandTrials(target, settings, on_output, on_wait)
    if target.path is not None and settings.isolate != "never" and hasattr(os, "fork"):
        starter = make_starter(MALLOC, expendable=True)
        return TargetTrials(WorkerPool(starter, make_bench, (target, settings), on_wait=on_wait), settings)
    if settings.isolate == "always":
        raise UsageError(
            "--isolate always runs trials in other processes, which cannot use live objects.",
            hint="Pass a dotted path, or a function at the top level of a module.",
        )
    from lrscout.engine.trials.bench import Bench
    from lrscout.engine.trials.source import Source

    source = Source(target, settings.batch_arg, settings.seed, live=found)
    return TargetTrials(InProcess(Bench(source, settings, own_process=False)), settings)


class TargetTrials:
    """Asks a bench: on the CPU in a process per trial, elsewhere in one until something breaks it."""

    def __init__(self, executor: Executor[Bench], settings: FindBatchSizeSettings) -> None:
        self._executor, self._settings = executor, settings
        self._one_each = True  # a process per trial
        self._used = False  # whether the process has performed a request

    def inspect(self) -> TargetFacts:
        """Look at the target; on an accelerator, the same process then runs the trials.

        Raises:
            LrscoutError: what the target or its data made impossible.
            UserCodeError: the target's code raised in another process.
        """
        facts = self._ask(Inspect(Limits(self._settings.timeout)))
        self._one_each = facts.on_cpu or self._settings.isolate == "always"
        if self._one_each:
            self._renew()
        return facts

    def estimate(self, longest: int | None) -> ShapeEstimate:
        """What a step would take; nothing is run.

        Raises:
            LrscoutError: shapes alone cannot tell.
        """
        return self._ask(Estimate(longest, Limits(self._settings.timeout)))

    def run(self, batch_size: int, limit_bytes: int | None, longest: int | None, evaluates: bool = False) -> Attempt:
        """Run a trial."""
        request = TrySize(batch_size, longest, evaluates, Limits(self._settings.timeout, limit_bytes))
        if self._one_each and self._used:  # sizes have been timed in it
            self._renew()
        reused, self._used = self._used, True
        started = monotonic()
        try:
            attempt = self._executor.ask(request)
        except WorkerDiedError as error:
            attempt = _attempt_of(error.died, batch_size)
        attempt = replace(attempt, trial=replace(attempt.trial, seconds=monotonic() - started))
        broken = attempt.trial.outcome in ("failed", "killed", "timeout")
        renewed = self._renew() if broken or self._one_each else False
        if attempt.trial.outcome == "failed" and reused and renewed:
            # a device context that an earlier trial broke makes the next one fail
            self._one_each = True
            return self.run(batch_size, limit_bytes, longest, evaluates)
        return attempt

    def time(self, batch_size: int, evaluates: bool = False) -> TimedSteps:
        """Time some steps, in a process that stays for the next time.

        Raises:
            LrscoutError: that failed.
        """
        return self._ask(TimeSize(batch_size, evaluates, Limits(self._settings.timeout)), "timed steps")

    @property
    def overhead(self) -> float:
        """0, since what is built to time the first size stays for the others."""
        return 0.0

    def noise(self, batch_size: int, dataset: int | None, seconds: float) -> GradientNoise | None:
        """The noise of the gradients in a short training; None if there was too little time.

        Raises:
            LrscoutError: that failed.
        """
        limits = Limits(seconds + self._settings.timeout)
        noise = self._ask(MeasureNoise(batch_size, dataset, seconds, limits), "measured the noise of the gradients")
        if self._one_each:
            self._renew()
        return noise

    def rate(self, batch_size: int) -> LrRecord:
        """Search for the learning rate at this size, in a process of its own where the trials have theirs.

        Raises:
            LrscoutError: that failed.
        """
        if self._one_each and self._used:  # it may hold what was timed in it
            self._renew()
        return self._ask(MeasureRate(batch_size, find_lr_settings(self._settings)), "searched for the learning rate")

    def time_step(self, batch_size: int, workers: int | None, loads: bool) -> LoaderTiming:
        """Time a training step with so many workers, or with batches that were loaded before.

        Raises:
            LrscoutError: what made that impossible, in a line.
        """
        self._used = True
        try:
            return self._executor.ask(TimeStep(batch_size, workers, loads, Limits(self._settings.timeout)))
        except WorkerDiedError as error:
            raise WorkloadError(f"The process that timed it {error.died}.") from None
        except (Exception, SystemExit) as error:
            text = error.message if isinstance(error, LrscoutError) else summary(error)
            lines = [line for line in text.splitlines() if line.strip(" .")]
            # an exception of a loader's worker is its traceback as text, with the exception itself at the end
            raise WorkloadError(lines[0] if len(lines) < 3 else lines[-1]) from error

    def close(self) -> None:
        """End all processes."""
        self._executor.close()

    def _renew(self) -> bool:
        self._used = False
        return self._executor.renew()

    def _ask(self, request: Request[Bench, A], doing: str = "built the target") -> A:
        self._used = True
        try:
            return self._executor.ask(request)
        except WorkerDiedError as error:
            hint = error.hint
            if error.died.timed_out_after is not None:
                hint = "Raise --timeout, or make build() faster."
            raise WorkloadError(f"The process that {doing} {error.died}.", hint=hint) from None


def _attempt_of(died: Died, batch_size: int) -> Attempt:
    """A trial whose process died."""
    outcome = _outcome_of(died)
    reason = f"The trial's process {died}."
    error = WorkloadError(reason, hint=died.hint) if outcome == "failed" else None
    return Attempt(Trial(batch_size, outcome, None, None, 0.0, 0, reason=reason), error)


def _outcome_of(died: Died) -> Outcome:
    if died.timed_out_after is not None:
        return "timeout"
    if not died.was_near_limit:
        return "failed"
    return "killed" if died.was_killed else "out_of_memory"
