"""Who follows a training."""

from __future__ import annotations

from collections.abc import Callable

from lrscout.results import TrainRunRecord


class TrainingObserver:
    """Hears how a training goes; this one ignores it."""

    def say(self, text: str) -> None:
        """Something that a user may want to know at once."""

    def stepped(self, step: int, lr: float, loss: float, so_far: Callable[[], TrainRunRecord]) -> None:
        """So many steps are taken, the last at this rate; `so_far` makes the record of all until now."""
