"""A training step with any number of workers of its loader, and without loading at all."""

from __future__ import annotations

import copy
import dataclasses
from itertools import cycle
from statistics import median
from typing import Any

from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data._utils import worker

from lrscout.attached.memory import memory_of
from lrscout.engine.session import Session
from lrscout.engine.trials.feed import Feed
from lrscout.engine.trials.timing import time_steps
from lrscout.engine.workload import Workload
from lrscout.errors import UsageError
from lrscout.results import LoaderTiming
from lrscout.settings import SessionSettings

KEPT_BATCHES = 4  # for a step without loading: where lengths vary, a single one might be long or short
WARM_UP_STEPS = 2  # the first ones create the optimizer's state, and choose kernels
PREFETCHED = 2  # batches for each worker: torch's default


class KeptFeed(Feed):
    """The first batches of a loader again and again, after its workers have been shut down."""

    def __init__(self, loader: Any, batch_size: int) -> None:
        super().__init__(loader, batch_size, longest=None)
        self._kept: list[Any] = []
        self._again = cycle(self._kept)

    def __next__(self) -> Any:
        if len(self._kept) == KEPT_BATCHES:
            return next(self._again)
        self._kept.append(super().__next__())
        if len(self._kept) == KEPT_BATCHES:
            self._shutdown_workers()
        return self._kept[-1]


def time_step(
    workload: Workload,
    settings: SessionSettings,
    batch_size: int,
    workers: int | None,
    loads: bool,
    preserve: bool,
) -> LoaderTiming:
    """Time steps with so many workers (None: as many as it has), or with batches that were loaded before.

    Raises:
        UsageError: the number of workers cannot be set.
        TooFewSamples: with so many workers, there are no batches of this size.
    """
    loader: Any = workload.train_loader if workers is None else with_workers(workload.train_loader, workers)
    own = loader.num_workers if isinstance(loader, DataLoader) else None
    loader = restartable(loader)
    feed = Feed(loader, batch_size, longest=None) if loads else KeptFeed(loader, batch_size)
    turn, early = turns_of(loader) if loads else (KEPT_BATCHES, KEPT_BATCHES)
    session = Session(dataclasses.replace(workload, train_loader=feed), settings)
    with session.open(preserve=preserve):
        memory_of(session.device).loosen()

        def steps(count: int = turn) -> None:
            for _ in range(count):
                session.step()
                session.losses(wait=True)

        steps(early // session.accumulate + WARM_UP_STEPS)
        feed.seconds_waited = 0.0
        seconds = time_steps(steps)
        return LoaderTiming(own, median(seconds) / turn, min(1.0, feed.seconds_waited / sum(seconds)))


def turns_of(loader: Any) -> tuple[int, int]:
    """How many steps to time together, and how many to take before.

    The workers take turns, so their batches come in bursts, and only a whole turn takes as long as the next. What was
    prefetched while they started says nothing about their speed.
    """
    workers = loader.num_workers if isinstance(loader, DataLoader) else 0
    return max(1, workers), (loader.prefetch_factor or PREFETCHED) * workers if workers else 0


def restartable(loader: Any) -> Any:
    """The loader, or a copy that does not come back to persistent workers that have been shut down."""
    has_persistent = isinstance(loader, DataLoader) and loader.persistent_workers and loader.num_workers
    return with_workers(loader, loader.num_workers) if has_persistent else loader


def with_workers(loader: Any, workers: int) -> DataLoader[Any]:
    """The same DataLoader with another number of workers: a copy, so that classes derived from it stay what they are.

    Raises:
        UsageError: it is not a DataLoader, or every worker would load all of the data.
    """
    if not isinstance(loader, DataLoader):
        raise UsageError(
            f"The train_loader is not a DataLoader but {type(loader).__name__!r}, so it has no num_workers."
        )
    if workers > 1 and not shares_data(loader):
        raise UsageError(
            f"The dataset {type(loader.dataset).__name__!r} is iterable and does not use get_worker_info(), so each"
            " of several workers would yield all of its samples."
        )
    changed = copy.copy(loader)
    changed.num_workers, changed._iterator = workers, None
    if workers == 0:
        changed.timeout = 0  # torch allows it with workers alone
    elif changed.prefetch_factor is None:
        changed.prefetch_factor = PREFETCHED
    return changed


def shares_data(loader: DataLoader[Any]) -> bool:
    """Whether several workers would each load a part of the data; iterable datasets see to that themselves."""
    dataset = loader.dataset
    if not isinstance(dataset, IterableDataset) or loader.num_workers > 1 or loader.worker_init_fn is not None:
        return True
    info: Any = _FirstOfTwo(dataset)
    before, worker._worker_info = worker._worker_info, info
    try:
        next(iter(dataset), None)
    finally:
        worker._worker_info = before
    return bool(info.asked)


class _FirstOfTwo:
    """What get_worker_info() returns in the first of two workers; notes whether somebody asks which one it is."""

    num_workers, seed = 2, 0

    def __init__(self, dataset: Any) -> None:
        self.dataset, self.asked = dataset, False

    @property
    def id(self) -> int:
        self.asked = True
        return 0
