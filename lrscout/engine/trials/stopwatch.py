"""Timing the steps of several sizes in turn, on one model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from lrscout.attached.memory import memory_of
from lrscout.engine.batches import Batches, to_device
from lrscout.engine.devices import synchronize
from lrscout.engine.randomness import preserved_random_state
from lrscout.engine.session import Session
from lrscout.engine.trials.requests import TimedSteps
from lrscout.engine.trials.source import Source, evaluation_loader, resized
from lrscout.engine.trials.timing import time_steps
from lrscout.engine.workload import Workload
from lrscout.errors import UsageError
from lrscout.settings import FindBatchSizeSettings


class Stopwatch:
    """Times steps at one size and then at another; the model, its optimizer and the data are built once.

    With `own_process`, they stay as they are between two turns; otherwise each turn restores them.
    """

    def __init__(self, source: Source, settings: FindBatchSizeSettings, evaluates: bool, own_process: bool) -> None:
        self._source, self._settings, self._evaluates = source, settings, evaluates
        self._keeps = own_process
        self._loaders: dict[int, Any] = {}
        self._given = _Given()
        self._workload: Workload | None = None
        self._session: Session | None = None

    def time(self, batch_size: int) -> TimedSteps:
        """Time some steps at this size, after one that does not count."""
        with ExitStack() as stack:
            if not self._keeps:
                stack.enter_context(preserved_random_state())
            self._given.take(Batches(self._loader(batch_size)))
            stack.callback(self._given.close)
            session = self._opened(stack)
            step = self._step(session)
            step()
            seconds = time_steps(step)
        samples = batch_size * (1 if self._evaluates else self._settings.accumulate)
        return TimedSteps(tuple(seconds), samples)

    def _opened(self, stack: ExitStack) -> Session:
        if self._session is not None:
            return self._session
        assert self._workload is not None
        session = Session(dataclasses.replace(self._workload, train_loader=self._given), self._settings)
        if self._keeps:
            session.open(preserve=False).__enter__()  # for as long as the process lives
            self._session = session
        else:
            stack.enter_context(session.open())
        memory_of(session.device).end()  # nothing is measured or limited here
        return session

    def _step(self, session: Session) -> Any:
        def step() -> None:
            if self._evaluates:
                session.evaluate([to_device(next(self._given), session.device)])
            else:
                session.train_step()
            synchronize(session.device)

        return step

    def _loader(self, batch_size: int) -> Any:
        """The loader of a size: that of the first one, rebuilt, or else that of a workload of its own."""
        if batch_size not in self._loaders:
            self._loaders[batch_size] = self._new_loader(batch_size)
        return self._loaders[batch_size]

    def _new_loader(self, batch_size: int) -> Any:
        if self._workload is None:
            self._workload = self._source.with_batch_size(batch_size)
            return self._chosen(self._workload)
        try:
            return resized(self._chosen(self._workload), batch_size)
        except UsageError:
            return self._chosen(self._source.with_batch_size(batch_size))

    def _chosen(self, workload: Workload) -> Any:
        return evaluation_loader(workload) if self._evaluates else workload.train_loader


class _Given(Iterator[Any]):
    """The batches of whichever size has its turn."""

    def __init__(self) -> None:
        self._batches: Batches | None = None

    def take(self, batches: Batches) -> None:
        self._batches = batches

    def __next__(self) -> Any:
        assert self._batches is not None
        return next(self._batches)

    def close(self) -> None:
        """Shut down the workers of the loader: those of another size would take the time of this one's."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None
