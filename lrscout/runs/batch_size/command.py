"""The trials of a training command: every size in a program of its own, measured from inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from statistics import median
from time import monotonic

from lrscout.engine.trials.judging import EXTRA_STEPS, over_limit
from lrscout.engine.trials.requests import Attempt, DataFacts, ShapeEstimate, TargetFacts, TimedSteps
from lrscout.engine.trials.timing import time_steps
from lrscout.errors import LrscoutError, UsageError, UserCodeError
from lrscout.processes.attach_errors import CommandEndedError, CommandFailedError
from lrscout.processes.driving import AttachedSession
from lrscout.processes.ranks import Measured
from lrscout.results import CommandTarget, GradientNoise, LrRecord, NoiseMoment, Trial
from lrscout.runs.batch_size.endings import ending_of
from lrscout.runs.batch_size.rate import WaitingLrObserver, find_lr_settings
from lrscout.runs.batch_size.started import Started
from lrscout.runs.batch_size.usage import SKIPPED_STEPS, Usage
from lrscout.runs.lr.command import search_command
from lrscout.runs.programs import OnOutput, chosen_optimizers, driven_together, environment_facts, target_facts
from lrscout.search.noise import LAST_STEPS, MOST_BATCHES, measured_moments, summarized
from lrscout.search.observed import ObservedSizes
from lrscout.search.throughput import samples_at
from lrscout.settings import FindBatchSizeSettings

ONE_SAMPLE = " Models with batch norm cannot train on one sample: try --min 2."
TIMED_STEPS, TIMED_SECONDS = 30, 2.0  # at most: a start takes longer than these, so they are worth it
NOISE_STEPS = LAST_STEPS + 6 * MOST_BATCHES  # of a start in which the noise of the gradients is measured
EXAMPLE = "For example: lrscout find-batch-size -- python train.py --batch-size {batch_size}"


class CommandTrials:
    """Starts the command anew for every trial, and ends it.

    Raises:
        UsageError: the command has no place for the size, or the settings ask for what only the program can decide.
    """

    def __init__(
        self,
        target: CommandTarget,
        settings: FindBatchSizeSettings,
        on_output: OnOutput | None,
        on_wait: Callable[[], None],
    ) -> None:
        if not target.takes("batch_size"):
            raise UsageError(
                "The command has no {batch_size}, so every trial would run the same size.", hint=f"{EXAMPLE}."
            )
        self._target, self._settings, self._on_output, self._on_wait = target, settings, on_output, on_wait
        self._device = "any"  # its type, once it is known
        self._observed = ObservedSizes()
        self._smallest_fit: int | None = None
        self._samples: dict[int, int] = {}  # in a step of each size
        self._latest: Started | None = None
        self._overhead = 0.0  # of the starts before

    def inspect(self) -> TargetFacts:
        """Start the command with the smallest size and without a limit, and look at it at its first step.

        Raises:
            LrscoutError: it failed, or cannot be attached to.
        """
        size = self._settings.min
        with closing(self._start(size, None, on_output=self._on_output)) as started:
            try:
                found = started.attach()
                chosen = chosen_optimizers(found, self._settings.optimizer)
                measured = started.command.measure()
            except (CommandFailedError, UserCodeError) as error:
                where = f"This was at size {size}, without a limit.{ONE_SAMPLE * (size == 1)}"
                raise error.extended(where) from error.__cause__
        self._device = found.device.partition(":")[0]
        unknown = DataFacts(None, None)
        return TargetFacts(
            environment=environment_facts(self._target, found, chosen),
            on_cpu=self._device == "cpu",
            training=unknown,
            evaluation=unknown,
            own=None,
            available_bytes=_available(measured, on_cpu=self._device == "cpu"),
            source_digest="",  # nobody knows which files the program is made of
            target=target_facts(self._target, found, chosen),
            ranks=found.ranks,
            warnings=found.warnings,
        )

    def estimate(self, longest: int | None) -> ShapeEstimate:
        """Shapes alone cannot tell: the model is the program's."""
        raise UsageError("--dry-run cannot be used with a command.", hint="Leave it out to measure.")

    def run(self, batch_size: int, limit_bytes: int | None, longest: int | None, evaluates: bool = False) -> Attempt:
        """Run a trial; `longest` and `evaluates` are for targets whose data lrscout knows."""
        started_at = monotonic()
        failure: LrscoutError | None = None
        timed: TimedSteps | None = None
        with closing(self._start(batch_size, limit_bytes, self._settings.timeout)) as started:
            try:
                trial, timed = self._measured(started, batch_size, limit_bytes)
            except LrscoutError as error:
                failure = started.out_of_time() if started.overdue else error  # others wait for as long
        if failure is not None:  # now that it is closed, its last lines are here
            fits_below = self._smallest_fit is not None and self._smallest_fit < batch_size
            trial, failure = ending_of(failure, started, batch_size, limit_bytes, fits_below)
        elif trial.outcome == "fits":
            self._smallest_fit = min(batch_size, self._smallest_fit or batch_size)
        return Attempt(replace(trial, seconds=monotonic() - started_at), failure, timed)

    def time(self, batch_size: int, evaluates: bool = False) -> TimedSteps:
        """Time some steps in another start.

        Raises:
            LrscoutError: it failed.
        """
        with closing(self._start(batch_size, None, self._settings.timeout, measures=False)) as started:
            found = started.attach()
            step = _one_by_one(started.command.session(*chosen_optimizers(found, self._settings.optimizer)))
            step()
            step()
            return TimedSteps(tuple(_timed(step)), samples_at(self._samples, batch_size))

    @property
    def overhead(self) -> float:
        """The seconds that the last start and its end took."""
        return (self._latest.overhead if self._latest is not None else 0.0) or self._overhead

    def noise(self, batch_size: int, dataset: int | None, seconds: float) -> GradientNoise | None:
        """The noise of the gradients in another start, at the program's own rate; None if there was too little time.

        Raises:
            LrscoutError: it failed.
        """
        moments: list[NoiseMoment] = []
        if self.overhead >= seconds:
            return None
        timeout = seconds + self._settings.timeout
        with closing(self._start(batch_size, None, timeout, measures=False, steps=NOISE_STEPS)) as started:
            found = started.attach()
            chosen = chosen_optimizers(found, self._settings.optimizer)
            # the others too, since all weights are to stay where they are while gradients are compared
            every = sorted(range(len(found.optimizers)), key=lambda number: number not in chosen)
            session = started.command.session(*every)
            own_lr = driven_together(found.optimizers, every).own_lr
            try:
                left = seconds - started.overhead
                for moment in measured_moments(session, own_lr, samples_at(self._samples, batch_size), left):
                    moments.append(moment)
            except CommandFailedError:
                raise
            except CommandEndedError:
                pass  # what was measured until then counts
        return summarized(batch_size, moments, dataset)

    def rate(self, batch_size: int) -> LrRecord:
        """Search for the learning rate at this size, in another start.

        Raises:
            LrscoutError: it failed.
        """
        at_size = replace(self._target, command=self._target.filled(batch_size=batch_size))
        return search_command(at_size, find_lr_settings(self._settings), WaitingLrObserver(self._on_wait))

    def close(self) -> None:
        """Nothing is left to end: every trial ends what it started."""

    def _start(
        self,
        batch_size: int,
        limit_bytes: int | None,
        timeout: float = math.inf,
        on_output: OnOutput | None = None,  # of the first start alone: what follows is the same again
        measures: bool = True,
        steps: int = EXTRA_STEPS + SKIPPED_STEPS + TIMED_STEPS,
    ) -> Started:
        measured = (self._device, limit_bytes) if measures else None
        steps += self._settings.trial_steps
        self._overhead = self.overhead
        self._latest = Started(
            self._target, self._settings, batch_size, steps, measured, timeout, on_output, self._on_wait
        )
        return self._latest

    def _measured(self, started: Started, size: int, limit: int | None) -> tuple[Trial, TimedSteps | None]:
        """Take the trial's steps, then time some more."""
        found = started.attach()
        step = _one_by_one(started.command.session(*chosen_optimizers(found, self._settings.optimizer)))
        use = Usage()
        while not use.is_enough(self._settings.trial_steps):
            step()
            use.note(started.command.measure())
            problem = over_limit(use.peak, limit) or use.problem
            if problem is not None:
                return use.trial(size, "out_of_memory", reason=problem), None
        seen = self._observed.note(size, use.shapes, use.forward or use.peak)
        if seen.cap is not None:
            reason = f"It ran batches of {seen.cap} where {size} were asked for."
            return Trial(size, "capped", None, None, 0.0, use.steps, reason=reason, cap=seen.cap), None
        started.command.measure(last=True)
        seconds = _timed(step)
        samples = self._samples[size] = seen.samples or size
        trial = use.trial(
            size,
            "fits",
            steps=use.steps + len(seconds),
            samples_per_second=samples / median(seconds) if seconds else None,
            growth_bytes=use.growth,
            micro_batch=seen.micro_batch,
            samples=seen.samples,
        )
        return trial, TimedSteps(tuple(seconds), samples) if seconds else None


def _available(measured: Sequence[Measured], on_cpu: bool) -> int | None:
    """What each rank could take in all; what it holds by now counts toward its budget already."""
    known = [each.available for each in measured if each.available is not None]
    if len(known) < len(measured):
        return None
    if not on_cpu:
        return min(known)
    return (min(known) + sum(each.held or 0 for each in measured)) // len(measured)  # they share the machine


def _one_by_one(session: AttachedSession) -> Callable[[], None]:
    """Takes a step, and waits for its loss."""

    def step() -> None:
        session.step()
        session.losses(wait=True)

    return step


def _timed(step: Callable[[], None]) -> list[float]:
    """The seconds of some steps; fewer where the program ends before."""
    seconds: list[float] = []

    def timed() -> None:
        before = monotonic()
        step()
        seconds.append(monotonic() - before)

    try:
        time_steps(timed, TIMED_STEPS, TIMED_SECONDS)
    except CommandFailedError:
        raise
    except CommandEndedError:
        pass
    return seconds
