"""The last part of a search: what the loader does to a step of the recommended size."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

from lrscout.processes.cores import cpu_cores
from lrscout.results import BatchSizeResult, LoaderTiming
from lrscout.runs.batch_size.observer import BatchSizeObserver
from lrscout.runs.batch_size.trials import TargetTrials, Trials
from lrscout.search.recommendation import LOADER_BOUND
from lrscout.search.workers import examine_loading
from lrscout.settings import FindBatchSizeSettings


def with_loading(
    result: BatchSizeResult, trials: Trials, settings: FindBatchSizeSettings, observer: BatchSizeObserver
) -> BatchSizeResult:
    """The result, and the times of a step with and without its loader where that limits it or --workers asks."""
    size = result.batch_size
    timed = result.timing_of(size) or result.trial_of(size)
    if size is None or timed is None or result.interrupted or not isinstance(trials, TargetTrials):
        return result
    if settings.workers is None and (timed.loader_share or 0.0) <= LOADER_BOUND:
        return result
    started = monotonic()
    timer = _Timer(trials, size, observer)
    loading = examine_loading(timer, None if settings.workers is None else cpu_cores())
    return replace(result, loading=loading, seconds=result.seconds + monotonic() - started)


class _Timer:
    """Times a step of one size wherever its trials run, and says so."""

    def __init__(self, trials: TargetTrials, batch_size: int, observer: BatchSizeObserver) -> None:
        self._trials, self._batch_size, self._observer = trials, batch_size, observer

    def with_workers(self, workers: int | None) -> LoaderTiming:
        told = "with its loader" if workers is None else f"with {workers} worker{'s' * (workers != 1)}"
        self._observer.measuring(f"timing a step {told}")
        return self._trials.time_step(self._batch_size, workers, loads=True)

    def without_loader(self) -> float:
        self._observer.measuring("timing a step without its loader")
        return self._trials.time_step(self._batch_size, None, loads=False).seconds_per_step
