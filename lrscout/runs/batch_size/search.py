"""The search behind find-batch-size, from the look at the target to the record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import closing
from time import perf_counter
from typing import Any, Literal

from lrscout.engine.trials.requests import TargetFacts, TimedSteps
from lrscout.errors import RecordError, UsageError
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
from lrscout.runs.batch_size.estimate import estimated
from lrscout.runs.batch_size.loading import with_loading
from lrscout.runs.batch_size.observer import BatchSizeObserver
from lrscout.runs.batch_size.rate import rate_by_rule, with_measured_rate
from lrscout.runs.batch_size.sizes import Sizes, failure_of
from lrscout.runs.batch_size.speed import LEAST_SECONDS, UNKNOWN, Plan, Speed, measured_speed
from lrscout.runs.batch_size.trials import Trials, open_trials
from lrscout.runs.programs import OnOutput
from lrscout.search.batch_size import (
    LARGEST_SIZE,
    Search,
    SearchEnd,
    expected_trials,
    multiple_below,
    power_of_two_below,
    run_search,
)
from lrscout.search.batch_size import splits as splits_of
from lrscout.search.goodput import MEMORY
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
        self._problems: tuple[str, ...] = ()
        self._smallest = settings.min  # or more, where a batch norm or a squeeze() fails on one sample
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
            try:
                cache.write(record)
            except RecordError as error:  # the answer is there all the same
                unsaved = f"{error.message} The answer is not kept for --cache."
                record = dataclasses.replace(record, warnings=(*record.warnings, unsaved))
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
        result = with_loading(result, self._trials, self._settings, self._observer)
        if self._settings.find_lr:
            result, problems = with_measured_rate(result, self._trials, self._observer)
            self._problems += problems
        return self._record(result)

    def _searched(self, evaluates: bool, so_far: Callable[[BatchSizeResult], BatchSizeRecord]) -> BatchSizeResult:
        settings = self._settings
        search, ceiling_reason = self._bounds(evaluates)
        step = friendly_step(settings.prefer)
        about = expected_trials(self._mode, search)
        sizes = Sizes(self._trials, self._facts, self._budget.limit_bytes, evaluates, self._observer, about)

        def result_of(end: SearchEnd, speed: Speed = UNKNOWN) -> BatchSizeResult:
            known: dict[str, Any] = {"timings": speed.timings, "noise_scale": speed.scale}
            result = conclude(end, search, self._mode, self._budget, step, objective=settings.objective, **known)
            return self._completed(dataclasses.replace(result, noise=speed.noise), evaluates)

        def on_trial(trial: Trial) -> None:
            self._observer.tried(trial, lambda: so_far(result_of(SearchEnd(tuple(search.trials), "interrupted", 0.0))))

        def searched_from(smallest: int) -> SearchEnd:
            search.smallest, search.trials = smallest, []
            return run_search(
                sizes,
                self._mode,
                search,
                stops_at_plateau=self._free or self._budget.bytes is None,
                friendly_of=power_of_two_below if step is None else lambda size: multiple_below(size, step),
                on_trial=on_trial,
                ceiling_reason=ceiling_reason,
            )

        end = searched_from(self._smallest)
        if end.stop_reason == "failed" and [each.batch_size for each in end.trials] == [1] and search.ceiling > 1:
            self._problems += (f"Size 1 was left out, since its trial failed: {end.trials[0].reason}",)
            self._smallest = 2
            end = searched_from(2)
        if end.stop_reason == "failed":
            raise failure_of(sizes.last)
        result = result_of(end)
        if result.largest_fitting is not None and end.stop_reason not in ("interrupted", "unstable"):
            result = self._with_speed(result, end, evaluates, sizes.timed, result_of)
        if result.largest_fitting is None and end.trials and end.stop_reason == "out_of_memory":
            needed = sizes.peak_without_limit(min(t.batch_size for t in end.trials))
            result = dataclasses.replace(result, reason=over_budget(result, needed))
        return result

    def _with_speed(
        self,
        result: BatchSizeResult,
        end: SearchEnd,
        evaluates: bool,
        known: Mapping[int, TimedSteps],
        result_of: Callable[[SearchEnd, Speed], BatchSizeResult],
    ) -> BatchSizeResult:
        """The result once the sizes that fit have been timed; interrupted where that was."""
        settings = self._settings
        if settings.objective == MEMORY:
            return result
        seconds = settings.time_budget_seconds or max(LEAST_SECONDS, end.seconds)
        sizes, samples = self._sizes_to_time(result), self._facts.data(evaluates).samples
        plan = Plan(sizes, seconds, samples, settings.statistics and not evaluates, evaluates, known)
        started = perf_counter()
        try:
            speed = measured_speed(self._trials, plan, self._observer)
        except KeyboardInterrupt:
            return result_of(dataclasses.replace(end, stop_reason="interrupted"), UNKNOWN)
        self._problems += speed.problems
        return result_of(dataclasses.replace(end, seconds=end.seconds + perf_counter() - started), speed)

    def _sizes_to_time(self, result: BatchSizeResult) -> list[int]:
        """Powers of two up to the largest size that fits, times --prefer's step; the target's own size; the largest."""
        largest, step = result.largest_fitting or 1, friendly_step(self._settings.prefer) or 1
        smallest = max(self._smallest, step)
        sizes = {step << k for k in range(largest.bit_length()) if smallest <= step << k <= largest}
        own = self._facts.own
        if own is not None and step == 1 and smallest <= own.batch_size <= largest:
            sizes.add(own.batch_size)
        return sorted(sizes | {largest})

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
        search = Search(self._smallest, ceiling, self._budget.limit_bytes, resolution)
        return search, "dataset" if ends_with_data else "max"

    def _completed(self, result: BatchSizeResult, evaluates: bool) -> BatchSizeResult:
        facts, settings = self._facts, self._settings
        wanted, largest = settings.effective_batch_size, result.largest_fitting
        trial = result.trial_of(largest)
        at_once = largest if trial is None or trial.micro_batch is None else trial.micro_batch
        ways = splits_of(wanted, at_once) if wanted and at_once is not None and not evaluates else ()
        own = None if evaluates else facts.own
        own_settings = facts.environment.get("own_settings", {})
        return dataclasses.replace(
            result,
            rate=rate_by_rule(result, own, settings.accumulate or own_settings.get("accumulate", 1)),
            dataset_size=facts.data(evaluates).samples,
            own=own,
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
        if result.interrupted:
            status = "interrupted"
        return RunRecord(
            command="find-batch-size",
            status=status,
            target=self._target,
            settings=dataclasses.asdict(self._settings),
            environment=self._facts.environment,
            result=result,
            warnings=(
                *self._facts.warnings,
                *self._warnings(),
                *self._problems,
                *warnings_about(result, friendly_step(self._settings.prefer), tried_find_lr=self._settings.find_lr),
            ),
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
