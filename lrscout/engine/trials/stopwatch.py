"""Timing the steps of several sizes in turn, on one model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from lrscout.attached.memory import memory_of
from lrscout.engine.batches import shut_down_workers, to_device
from lrscout.engine.devices import synchronize
from lrscout.engine.randomness import Restore, generator_owners, preserved_random_state, random_state
from lrscout.engine.session import Session
from lrscout.engine.state import module_state
from lrscout.engine.trials.feed import Feed
from lrscout.engine.trials.loading import restartable, turns_of
from lrscout.engine.trials.requests import TimedSteps
from lrscout.engine.trials.source import Source, evaluation_loader, resized
from lrscout.engine.trials.timing import time_steps
from lrscout.engine.workload import Workload
from lrscout.errors import UsageError
from lrscout.settings import FindBatchSizeSettings


class Stopwatch:
    """Times steps at one size and then at another; the model, its optimizer and the data are built once.

    With `own_process`, the weights and the optimizer stay as they are between two turns, until `close`, while what a
    model keeps beside them is put back, since it may have the shape of a batch; otherwise each turn restores all.
    """

    def __init__(self, source: Source, settings: FindBatchSizeSettings, evaluates: bool, own_process: bool) -> None:
        self._source, self._settings, self._evaluates = source, settings, evaluates
        self._keeps = own_process
        self._loaders: dict[int, Any] = {}
        self._given = _Given()
        self._workload: Workload | None = None
        self._session: Session | None = None
        self._put_back: Restore = lambda: None
        self._opened = ExitStack()

    def time(self, batch_size: int) -> TimedSteps:
        """Time some steps at this size, after some that do not count.

        Raises:
            TooFewSamples: there are no batches of this size.
        """
        with ExitStack() as stack:
            if not self._keeps:
                stack.enter_context(preserved_random_state())
            loader = restartable(self._loader(batch_size))
            if not self._keeps:
                stack.callback(random_state(generator_owners(loader)))
            turn, early = turns_of(loader)
            session = self._open(self._opened if self._keeps else stack)
            stack.callback(self._put_back)
            feed = self._given.feed = Feed(loader, batch_size, longest=None)
            # the workers of another size would take the time of this one's
            stack.callback(shut_down_workers, feed)
            step = self._step(session, turn)
            for _ in range(1 + early // turn):
                step()
            feed.seconds_waited = 0.0
            seconds = time_steps(step)
            waited = min(1.0, feed.seconds_waited / sum(seconds))
        samples = batch_size * (1 if self._evaluates else session.accumulate)
        return TimedSteps(tuple(each / turn for each in seconds), samples, waited)

    def close(self) -> None:
        """Let go of what was built."""
        self._opened.close()

    def _open(self, stack: ExitStack) -> Session:
        if self._session is not None:
            return self._session
        assert self._workload is not None
        session = Session(dataclasses.replace(self._workload, train_loader=self._given), self._settings)
        stack.enter_context(session.open(preserve=not self._keeps))
        memory_of(session.device).end()  # nothing is measured or limited here
        if self._keeps:
            self._session, self._put_back = session, module_state(session.modules)
        return session

    def _step(self, session: Session, turn: int) -> Any:
        def step() -> None:
            for _ in range(turn):
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

    feed: Feed

    def __next__(self) -> Any:
        return next(self.feed)
