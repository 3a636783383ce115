"""The search behind find-batch-size, from the look at the target to the record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

from lrscout.api.batch_size_cache import BatchSizeCache
from lrscout.api.batch_size_estimate import estimated
from lrscout.api.targets import describe_target
from lrscout.api.trials import Trials, open_trials
from lrscout.engine.requests import EstimateRequest, Facts, Request
from lrscout.errors import LrscoutError, UsageError
from lrscout.formatting import format_bytes
from lrscout.results import (
    BatchSizeRecord,
    BatchSizeResult,
    BatchStopReason,
    RunRecord,
    Status,
    Target,
    Trial,
)
from lrscout.search.batch_size import LARGEST_SIZE, Search, SearchEnd, multiple_below, power_of_two_below, run_search
from lrscout.search.batch_size import splits as splits_of
from lrscout.search.recommendation import conclude, over_budget, warnings_about
from lrscout.settings import FindBatchSizeSettings
from lrscout.settings.quantities import friendly_step, memory_bytes, share

LARGEST_ON_CPU = 8192  # without a budget and --max
FIT_RESOLUTION = 0.02


class Watch(Protocol):
    """Who follows a search."""

    def waiting(self, batch_size: int | None) -> None:
        """Several times a second: the size under trial; None: the target is built."""

    def tried(self, trial: Trial, so_far: Callable[[], BatchSizeRecord]) -> None:
        """After every trial, with a function that makes the record so far."""


class Nobody:
    """Who does not."""

    def waiting(self, batch_size: int | None) -> None:
        pass

    def tried(self, trial: Trial, so_far: Callable[[], BatchSizeRecord]) -> None:
        pass


def search_batch_size(
    settings: FindBatchSizeSettings, target: Target, watch: Watch | None = None, found: Any = None
) -> BatchSizeRecord:
    """Run the search; `found` is what a target without a path is made of, or what the path names.

    Raises:
        LrscoutError: what the target, its data or the settings made impossible.
        Exception: what the target's code raised in this process.
    """
    watch = watch or Nobody()
    current: list[int | None] = [None]
    watch.waiting(None)
    trials = open_trials(settings, target, found, lambda: watch.waiting(current[0]))
    try:
        return _Run(trials, settings, target, watch, current).record()
    finally:
        trials.close()


class _Run:
    """One search, from the look at the target to its record."""

    def __init__(
        self,
        trials: Trials,
        settings: FindBatchSizeSettings,
        target: Target,
        watch: Watch,
        current: list[int | None],
    ) -> None:
        self._trials, self._settings, self._target = trials, settings, target
        self._watch, self._current = watch, current
        self._facts = facts = trials.inspect()
        self._margin = share(settings.margin, "--margin")
        self._budget = _budget_of(settings, facts)
        self._on_cpu = facts.environment["device"] == "cpu"
        self._free = self._on_cpu and settings.budget is None  # memory is not what limits
        self._mode = settings.mode or ("power" if self._free or self._budget is None else "fit")

    def record(self) -> BatchSizeRecord:
        """Search, and search for evaluation too where asked; or only estimate."""
        if self._settings.dry_run:
            return self._record(self._estimated())
        if not self._settings.cache:
            return self._run()
        given = describe_target(self._target), dataclasses.asdict(self._settings)
        cache = BatchSizeCache(self._facts.source_digest, *given, self._facts.environment, self._budget)
        record = cache.read()
        if record is None:
            record = self._run()
            cache.write(record)
        return record

    def _run(self) -> BatchSizeRecord:
        if self._settings.eval:
            self._bounds(evaluates=True)  # a mistake in it is told before the first search, not after
        result = self._searched(evaluates=False, so_far=lambda r: self._record(r))
        if self._settings.eval and result.stop_reason not in ("failed", "interrupted"):
            training = result
            evaluation = self._searched(
                evaluates=True, so_far=lambda r: self._record(dataclasses.replace(training, evaluation=r))
            )
            result = dataclasses.replace(training, evaluation=evaluation)
        return self._record(result)

    def _searched(self, evaluates: bool, so_far: Callable[[BatchSizeResult], BatchSizeRecord]) -> BatchSizeResult:
        settings = self._settings
        search, ceiling_reason = self._bounds(evaluates)
        step = friendly_step(settings.prefer)
        sizes = _Sizes(self._trials, self._facts, self._limit, evaluates, self._current, self._watch)

        def result_of(end: SearchEnd) -> BatchSizeResult:
            result = conclude(end, search, self._mode, (self._budget, self._margin), step)
            return self._completed(result, evaluates)

        def on_trial(trial: Trial) -> None:
            self._watch.tried(trial, lambda: so_far(result_of(SearchEnd(tuple(search.trials), "interrupted", 0.0))))

        end = run_search(
            sizes,
            self._mode,
            search,
            stops_at_plateau=self._free or self._budget is None,
            friendly_of=power_of_two_below if step is None else lambda size: multiple_below(size, step),
            on_trial=on_trial,
            ceiling_reason=ceiling_reason,
        )
        if end.stop_reason == "failed":
            raise self._failure(end.trials[-1])
        result = result_of(end)
        if result.largest_fitting is None and end.trials and end.stop_reason == "out_of_memory":
            needed = sizes.peak_without_limit(min(t.batch_size for t in end.trials))
            result = dataclasses.replace(result, reason=over_budget(result, needed))
        return result

    def _estimated(self) -> BatchSizeResult:
        shapes = self._trials.estimate(EstimateRequest(self._facts.longest[0]))
        return self._completed(estimated(shapes, (self._budget, self._margin)), evaluates=False)

    @property
    def _limit(self) -> int | None:
        return None if self._budget is None else int(self._budget * (1 - self._margin))

    def _bounds(self, evaluates: bool) -> tuple[Search, BatchStopReason]:
        """Where sizes begin and end, and what it means to reach the end.

        Raises:
            UsageError: the data set has fewer samples than --min.
        """
        settings, facts = self._settings, self._facts
        samples = facts.eval_dataset_size if evaluates else facts.dataset_size
        most = settings.max or (LARGEST_ON_CPU if self._free else LARGEST_SIZE)
        if samples is not None and samples < settings.min:
            raise UsageError(
                f"--min {settings.min} is above the {samples} samples of the {'evaluated ' * evaluates}data set.",
                hint="Lower --min.",
            )
        resolution = FIT_RESOLUTION if self._mode == "fit" else 0.0
        if settings.resolution is not None:
            resolution = share(settings.resolution, "--resolution")
        ends_with_data = samples is not None and samples <= most
        ceiling = most if samples is None else min(samples, most)
        search = Search(settings.min, ceiling, self._limit, resolution)
        return search, "dataset" if ends_with_data else "max"

    def _completed(self, result: BatchSizeResult, evaluates: bool) -> BatchSizeResult:
        facts, settings = self._facts, self._settings
        wanted, largest = settings.effective_batch_size, result.largest_fitting
        ways = splits_of(wanted, largest) if wanted is not None and largest is not None and not evaluates else ()
        samples = facts.eval_dataset_size if evaluates else facts.dataset_size
        return dataclasses.replace(result, dataset_size=samples, own=None if evaluates else facts.own, splits=ways)

    def _failure(self, trial: Trial) -> BaseException:
        """The exception behind a failed trial; ours says at which size."""
        failure = self._trials.failure
        if failure is None:
            return LrscoutError(f"The trial of size {trial.batch_size} failed: {trial.reason}")
        hint = " Models with batch norm cannot train on one sample: try --min 2." if trial.batch_size == 1 else ""
        if isinstance(failure, LrscoutError):
            failure.args = (failure.message,)
            failure.message = f"{failure.message} It was the trial of size {trial.batch_size}.{hint}"
        else:
            failure.add_note(f"lrscout: this was the trial of size {trial.batch_size}.{hint}")
        return failure

    def _warnings(self) -> list[str]:
        free, budget = self._facts.available_bytes, self._budget
        if self._settings.dry_run or free is None or budget is None or budget <= free:
            return []
        return [f"The budget is {format_bytes(budget)}, and only {format_bytes(free)} are free now."]

    def _record(self, result: BatchSizeResult) -> BatchSizeRecord:
        found = result.batch_size is not None or result.stop_reason == "estimate"
        status: Status = "ok" if found else "inconclusive"
        if "interrupted" in (result.stop_reason, result.evaluation.stop_reason if result.evaluation else None):
            status = "interrupted"
        return RunRecord(
            command="find-batch-size",
            status=status,
            target=describe_target(self._target),
            settings=dataclasses.asdict(self._settings),
            environment=self._facts.environment,
            result=result,
            warnings=(*self._warnings(), *warnings_about(result, friendly_step(self._settings.prefer))),
        )


def _budget_of(settings: FindBatchSizeSettings, facts: Facts) -> int | None:
    if settings.budget is None:
        return facts.available_bytes
    if facts.available_bytes is None and not settings.dry_run:
        raise UsageError(
            f"On {facts.environment['device']} here, memory can be neither measured nor limited.",
            hint="Leave out --budget: the search then ends where a size fails.",
        )
    return memory_bytes(settings.budget, facts.available_bytes)


class _Sizes:
    """The trials of one search as it asks for them: by size alone."""

    def __init__(
        self,
        trials: Trials,
        facts: Facts,
        limit_bytes: int | None,
        evaluates: bool,
        current: list[int | None],
        watch: Watch,
    ) -> None:
        self._trials, self._limit, self._evaluates, self._current = trials, limit_bytes, evaluates, current
        self._longest, self._available = facts.longest[1 if evaluates else 0], facts.available_bytes
        self._watch = watch

    def try_size(self, batch_size: int) -> Trial:
        return self._run(batch_size, self._limit)

    def peak_without_limit(self, batch_size: int) -> int | None:
        """What a size needs, with all the memory that there is."""
        if self._limit is None or self._available is None or self._available <= self._limit:
            return None
        return self._run(batch_size, self._available).peak_bytes

    def _run(self, batch_size: int, limit_bytes: int | None) -> Trial:
        self._current[0] = batch_size
        self._watch.waiting(batch_size)
        return self._trials.run(Request(batch_size, limit_bytes, self._longest, self._evaluates))
