"""When the record of a run under way is written: often enough, and in a small share of the time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

SAVE_SECONDS = 2.0  # between two saves
SAVE_SHARE = 0.02  # of the time that they may take
QUICK_SECONDS = 0.25  # a save that takes no longer is made at once whenever it is asked for
URGENT_SHARE = 0.1  # the same for those that are to be made at once: a record of thousands of runs takes seconds


class SaveTimes:
    """Says when to save."""

    def __init__(self) -> None:
        self._next, self._next_urgent = time.monotonic() + SAVE_SECONDS, 0.0
        self._due = math.inf  # nothing is to be saved

    def want(self, at_once: bool) -> None:
        """There is something to save."""
        self._due = min(self._due, self._next_urgent if at_once else self._next)

    @property
    def is_now(self) -> bool:
        return time.monotonic() >= self._due

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Around a save."""
        started = time.monotonic()
        yield
        taken = time.monotonic() - started
        self._next = started + max(SAVE_SECONDS, taken / SAVE_SHARE)
        self._next_urgent = started + taken / URGENT_SHARE if taken > QUICK_SECONDS else 0.0
        self._due = math.inf
