"""What a comparison tells while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from lrscout.results import ComparedRun, CompareRecord

Step = Callable[[int, float, float], None]
"""Steps taken so far of this stretch of runs, with a rate and a loss."""


class Watch:
    """What a comparison tells while it goes on; this one listens to nothing."""

    def say(self, text: str) -> None:
        """Something that is good to know."""

    def stretch(self, steps: int, label: str) -> AbstractContextManager[Step]:
        """A number of runs begins, of so many steps together."""
        return nullcontext(lambda step, lr, loss: None)

    def finished(self, run: ComparedRun, done: int, total: int, seconds_left: float | None) -> None:
        """A run came to an end."""

    def keep(self, so_far: Callable[[], CompareRecord]) -> None:
        """There is more to save than before."""
