"""A target that is looked at: its first batches, and sessions on them that leave no trace."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from lrscout.engine.batches import Batches, samples_in, tensors_in
from lrscout.engine.checking.copies import Copies
from lrscout.engine.checking.fitting import Fit, fit_one_batch
from lrscout.engine.checking.kept_state import kept_state
from lrscout.engine.randomness import seed_everything
from lrscout.engine.session import Session
from lrscout.engine.state import preserved
from lrscout.engine.trials.loading import with_workers
from lrscout.engine.trials.source import resized
from lrscout.engine.workload import Workload
from lrscout.errors import UsageError, WorkloadError
from lrscout.settings import CheckSettings

KEPT_BATCHES = 4  # what one batch does not use, such as one of several experts, another may
SMALLEST_RATE = 1e-3  # stands for a configured rate of 0


class Subject:
    """A target under examination. `build` makes its workload from a seed; `tick` is told how a check goes on."""

    def __init__(
        self, build: Callable[[int], Workload], settings: CheckSettings, tick: Callable[[str], None] = lambda now: None
    ) -> None:
        self.build, self.settings, self.tick = build, settings, tick
        self.workload = build(settings.seed)
        self.whole = Session(self.workload, settings)  # on its own loader; not opened here

    @property
    def own_lr(self) -> float:
        """The largest rate that the optimizer is configured with, or a small one instead of 0."""
        return self.whole.own_lr or SMALLEST_RATE

    @property
    def reads_once(self) -> bool:
        """Whether the train_loader is an iterator, which goes on where it was left."""
        return isinstance(self.workload.train_loader, Iterator)

    @cached_property
    def batches(self) -> list[Any]:
        """The first batches of the train_loader.

        Raises:
            WorkloadError: it is empty.
        """
        return self._first(self.workload.train_loader, KEPT_BATCHES)

    @cached_property
    def batch_size(self) -> int | None:
        """The samples of a batch; None if they cannot be counted."""
        return getattr(self.workload.train_loader, "batch_size", None) or samples_in(self.batches[0])

    @cached_property
    def small_batch(self) -> Any:
        """A batch of at most `--samples` samples, as far as one can be made."""
        first, most, size = self.batches[0], self.settings.samples, self.batch_size
        if size is None or size <= most:
            return first
        try:
            return self._first(with_workers(resized(self.workload.train_loader, most), 0), 1)[0]
        except UsageError:  # not a DataLoader, or one that is given its batches
            alike = all(tensor.dim() and tensor.shape[0] == size for tensor in tensors_in(first))
            return _cut(first, most) if alike else first

    @cached_property
    def fits(self) -> list[Fit]:
        """Trainings on the small batch, the best first."""
        return fit_one_batch(self)

    @contextmanager
    def session(self, batches: Sequence[Any] | None = None, **changes: Any) -> Iterator[Session]:
        """An open session on kept batches, with other settings if need be; everything is put back on exit."""
        settings = dataclasses.replace(self.settings, **{"accumulate": 1, "compile": False, **changes})
        loader = Copies(self.batches if batches is None else batches)
        with self.opened(Session(dataclasses.replace(self.workload, train_loader=loader), settings)) as session:
            yield session

    @contextmanager
    def opened(self, session: Session) -> Iterator[Session]:
        """A session of a target, opened; what the target keeps beside its modules is put back too."""
        with kept_state(session.workload), session.open():
            yield session

    def _first(self, loader: Iterable[Any], count: int) -> list[Any]:
        with preserved((), (), [loader]):
            seed_everything(self.settings.seed)
            batches, found = Batches(loader), list[Any]()
            try:
                while len(found) < count:
                    found.append(next(batches))
            except WorkloadError:  # a loader that is used up after fewer
                if not found:
                    raise
            finally:
                batches.close()
        return found


def _cut(part: Any, count: int) -> Any:
    """The first samples of a batch whose tensors all have as many rows as it has samples."""
    if isinstance(part, (str, bytes)) or not hasattr(part, "__getitem__"):
        return part
    if isinstance(part, dict):
        return {key: _cut(value, count) for key, value in part.items()}
    if isinstance(part, tuple) and hasattr(part, "_fields"):
        return type(part)(*(_cut(value, count) for value in part))
    if isinstance(part, (tuple, list)):
        return type(part)(_cut(value, count) for value in part)
    return part[:count]
