"""Who follows a search for a batch size."""

from __future__ import annotations

from collections.abc import Callable

from lrscout.results import BatchSizeRecord, Trial


class BatchSizeObserver:
    """Hears how a search for a batch size goes; this one ignores it."""

    def loading(self) -> None:
        """The target is being built."""

    def trying(self, batch_size: int, number: int, about: int | None) -> None:
        """A trial begins: its number, counted from 1, and how many there may be, if that is known."""

    def measuring(self, what: str) -> None:
        """Something else than a trial begins: the noise of the gradients, or the timing of a step."""

    def waiting(self) -> None:
        """Several times a second, while another process works."""

    def tried(self, trial: Trial, so_far: Callable[[], BatchSizeRecord]) -> None:
        """A trial ended; `so_far` makes the record of all until now."""
