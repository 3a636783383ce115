"""Who follows a comparison."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from lrscout.results import ComparedRun, CompareRecord

OnStep = Callable[[int, float, float], None]
"""Receives the steps taken so far by all runs, with a rate and a loss."""


class ComparisonObserver:
    """Hears how a comparison goes; this one ignores it."""

    def opened(self) -> None:
        """The target has been loaded, wherever the runs take place."""

    def phase(self, name: str) -> None:
        """Something begins that is no run: the target is loaded, or a rate is searched for."""

    def say(self, text: str) -> None:
        """Something worth knowing."""

    def planned(self, steps: int) -> None:
        """All runs take about so many steps together; again whenever that changes."""

    def stretch(self, label: str) -> AbstractContextManager[OnStep]:
        """The runs begin."""
        return nullcontext(lambda step, lr, loss: None)

    def printed(self, line: str) -> None:
        """A training command printed a line; called in another thread."""

    def finished(self, run: ComparedRun, done: int, total: int, seconds_left: float | None) -> None:
        """A run ended."""

    def keep(self, so_far: Callable[[], CompareRecord]) -> None:
        """There is more to save than before; `so_far` makes the record of it."""
