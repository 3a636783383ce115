"""The search behind find-batch-size, from the look at the target to the record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import closing
from typing import Any, Literal

from lrscout.engine.trials.requests import Attempt, TargetFacts
from lrscout.errors import LrscoutError, UsageError
from lrscout.formatting import format_bytes
from lrscout.results import (
    BatchSizeRecord,
    BatchSizeResult,
    CommandTarget,
    MemoryBudget,
    RunRecord,
    Status,
    Target,
    Trial,
)
from lrscout.runs.batch_size.cache import BatchSizeCache
from lrscout.runs.batch_size.command import ONE_SAMPLE
from lrscout.runs.batch_size.estimate import estimated
from lrscout.runs.batch_size.observer import BatchSizeObserver
from lrscout.runs.batch_size.trials import Trials, open_trials
from lrscout.runs.programs import OnOutput
from lrscout.search.batch_size import LARGEST_SIZE, Search, SearchEnd, multiple_below, power_of_two_below, run_search
from lrscout.search.batch_size import splits as splits_of
from lrscout.search.recommendation import conclude, over_budget, warnings_about
from lrscout.settings import FindBatchSizeSettings
from lrscout.settings.quantities import friendly_step, memory_bytes, share

LARGEST_ON_CPU = 8192  # without a budget and --max
FIT_RESOLUTION = 0.02


def search_batch_size(
    settings: FindBatchSizeSettings,
    target: Target | CommandTarget,
    observer: BatchSizeObserver | None = None,
    found: Any = None,
    on_output: OnOutput | None = None,
) -> BatchSizeRecord:
    """Run the search; `found` is a Workload or a function that builds one, for a target without a path.

    `on_output` receives each line that a training command prints, in another thread.

    Raises:
        LrscoutError: the target, its data or the settings make it impossible.
        Exception: the target's code raised it in this process.
    """
    observer = observer or BatchSizeObserver()
    observer.loading()
    with closing(open_trials(settings, target, found, observer.waiting, on_output)) as trials:
        return _Run(trials, settings, target, observer).record()


class _Run:
    """One search, from the look at the target to its record."""

    def __init__(
        self,
        trials: Trials,
        settings: FindBatchSizeSettings,
        target: Target | CommandTarget,
        observer: BatchSizeObserver,
    ) -> None:
        self._trials, self._settings, self._observer = trials, settings, observer
        self._facts = facts = trials.inspect()
        self._target = facts.target or target.as_dict()
        self._budget = MemoryBudget(_budget_of(settings, facts), share(settings.margin, "--margin"))
        self._free = facts.on_cpu and settings.budget is None  # memory does not limit the size
        self._mode = settings.mode or ("power" if self._free or self._budget.bytes is None else "fit")

    def record(self) -> BatchSizeRecord:
        """Search, for evaluation too with --eval; or only estimate."""
        if self._settings.dry_run:
            return self._record(self._estimated())
        if not self._settings.cache:
            return self._run()
        given = self._target, dataclasses.asdict(self._settings)
        cache = BatchSizeCache(self._facts.source_digest, *given, self._facts.environment, self._budget.bytes)
        record = cache.read()
        if record is None:
            record = self._run()
            cache.write(record)
        return record

    def _run(self) -> BatchSizeRecord:
        if self._settings.eval:
            self._bounds(evaluates=True)  # reports a mistake before the first search instead of after it
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
        sizes = _Sizes(self._trials, self._facts, self._budget.limit_bytes, evaluates, self._observer)

        def result_of(end: SearchEnd) -> BatchSizeResult:
            result = conclude(end, search, self._mode, self._budget, step)
            return self._completed(result, evaluates)

        def on_trial(trial: Trial) -> None:
            self._observer.tried(trial, lambda: so_far(result_of(SearchEnd(tuple(search.trials), "interrupted", 0.0))))

        end = run_search(
            sizes,
            self._mode,
            search,
            stops_at_plateau=self._free or self._budget.bytes is None,
            friendly_of=power_of_two_below if step is None else lambda size: multiple_below(size, step),
            on_trial=on_trial,
            ceiling_reason=ceiling_reason,
        )
        if end.stop_reason == "failed":
            raise _failure(sizes.last)
        result = result_of(end)
        if result.largest_fitting is None and end.trials and end.stop_reason == "out_of_memory":
            needed = sizes.peak_without_limit(min(t.batch_size for t in end.trials))
            result = dataclasses.replace(result, reason=over_budget(result, needed))
        return result

    def _estimated(self) -> BatchSizeResult:
        shapes = self._trials.estimate(self._facts.training.longest)
        search, ceiling_reason = self._bounds(evaluates=False)
        step = friendly_step(self._settings.prefer)
        return self._completed(estimated(shapes, self._budget, search, ceiling_reason, step), evaluates=False)

    def _bounds(self, evaluates: bool) -> tuple[Search, Literal["dataset", "max"]]:
        """The range of sizes, and the reason to give if its end is reached.

        Raises:
            UsageError: the dataset has fewer samples than --min.
        """
        settings, facts = self._settings, self._facts
        samples = facts.data(evaluates).samples
        most = settings.max or (LARGEST_ON_CPU if self._free else LARGEST_SIZE)
        if samples is not None and samples < settings.min:
            raise UsageError(
                f"--min {settings.min} is more than the {samples} samples of the {'evaluation ' * evaluates}dataset.",
                hint="Lower --min.",
            )
        resolution = FIT_RESOLUTION if self._mode == "fit" else 0.0
        if settings.resolution is not None:
            resolution = share(settings.resolution, "--resolution")
        ends_with_data = samples is not None and samples <= most
        ceiling = most if samples is None else min(samples, most)
        search = Search(settings.min, ceiling, self._budget.limit_bytes, resolution)
        return search, "dataset" if ends_with_data else "max"

    def _completed(self, result: BatchSizeResult, evaluates: bool) -> BatchSizeResult:
        facts, settings = self._facts, self._settings
        wanted, largest = settings.effective_batch_size, result.largest_fitting
        trial = result.trial_of(largest)
        at_once = largest if trial is None or trial.micro_batch is None else trial.micro_batch
        ways = splits_of(wanted, at_once) if wanted and at_once is not None and not evaluates else ()
        return dataclasses.replace(
            result,
            dataset_size=facts.data(evaluates).samples,
            own=None if evaluates else facts.own,
            splits=ways,
            ranks=facts.ranks,
        )

    def _warnings(self) -> list[str]:
        free, budget = self._facts.available_bytes, self._budget.bytes
        if self._settings.dry_run or free is None or budget is None or budget <= free:
            return []
        return [f"The budget is {format_bytes(budget)}, but only {format_bytes(free)} are free now."]

    def _record(self, result: BatchSizeResult) -> BatchSizeRecord:
        status: Status = "ok" if result.answer is not None else "inconclusive"
        if "interrupted" in (result.stop_reason, result.evaluation.stop_reason if result.evaluation else None):
            status = "interrupted"
        return RunRecord(
            command="find-batch-size",
            status=status,
            target=self._target,
            settings=dataclasses.asdict(self._settings),
            environment=self._facts.environment,
            result=result,
            warnings=(*self._warnings(), *warnings_about(result, friendly_step(self._settings.prefer))),
        )


def _budget_of(settings: FindBatchSizeSettings, facts: TargetFacts) -> int | None:
    if settings.budget is None:
        return facts.available_bytes
    if facts.available_bytes is None and not settings.dry_run:
        raise UsageError(
            f"lrscout cannot measure or limit memory on {facts.environment['device']}.",
            hint="Leave out --budget: the search then goes on until a size fails.",
        )
    return memory_bytes(settings.budget, facts.available_bytes)


class _Sizes:
    """Runs trials for a search, which asks for them by size alone."""

    last: Attempt

    def __init__(
        self,
        trials: Trials,
        facts: TargetFacts,
        limit_bytes: int | None,
        evaluates: bool,
        observer: BatchSizeObserver,
    ) -> None:
        self._trials, self._limit, self._evaluates, self._observer = trials, limit_bytes, evaluates, observer
        self._longest, self._available = facts.data(evaluates).longest, facts.available_bytes

    def try_size(self, batch_size: int) -> Trial:
        self.last = self._run(batch_size, self._limit)
        return self.last.trial

    def peak_without_limit(self, batch_size: int) -> int | None:
        """The peak of a size if it may take all the memory there is."""
        if self._limit is None or self._available is None or self._available <= self._limit:
            return None
        return self._run(batch_size, self._available).trial.peak_bytes

    def _run(self, batch_size: int, limit_bytes: int | None) -> Attempt:
        self._observer.trying(batch_size)
        return self._trials.run(batch_size, limit_bytes, self._longest, self._evaluates)


def _failure(attempt: Attempt) -> BaseException:
    """The exception behind a failed trial, saying at which size."""
    size, error = attempt.trial.batch_size, attempt.error
    where = f"This was the trial of size {size}.{ONE_SAMPLE * (size == 1)}"
    if error is None:
        return LrscoutError(f"{attempt.trial.reason} {where}")
    if isinstance(error, LrscoutError):
        return error.extended(where)
    error.add_note(f"lrscout: {where}")
    return error
