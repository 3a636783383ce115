"""Who follows a search for a learning rate."""

from __future__ import annotations

from collections.abc import Callable

from lrscout.results import LrRecord, SweepPoint, TrainingPoint


class LrObserver:
    """Hears how a search for a learning rate goes; this one ignores it."""

    def phase(self, name: str) -> None:
        """Something begins: the target is loaded, or a sweep or a training starts."""

    def planned(self, steps: int) -> None:
        """The search takes about so many steps in all; again whenever more turn out to be needed."""

    def stepped(self, point: SweepPoint | TrainingPoint, so_far: Callable[[], LrRecord]) -> None:
        """A step was taken; `so_far` makes the record of all until now."""

    def advanced(self, steps: int, lr: float, loss: float) -> None:
        """So many steps were taken by another process, the last of them at this rate and with this loss."""

    def keep(self, so_far: Callable[[], LrRecord]) -> None:
        """Something has ended elsewhere; `so_far` makes the record of all until now."""
