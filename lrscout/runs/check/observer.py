"""Who follows a check."""

from __future__ import annotations

from collections.abc import Callable

from lrscout.results import CheckRecord


class CheckObserver:
    """Hears how the checks go on; this one ignores it."""

    def planned(self, checks: int) -> None:
        """So many checks are made."""

    def doing(self, done: int, name: str, now: str) -> None:
        """So many checks are done; the next one has this name, and is at `now`."""

    def checked(self, so_far: Callable[[], CheckRecord]) -> None:
        """A check has ended; `so_far` makes the record of all until now."""

    def raised(self, name: str, error: Exception) -> None:
        """The target's code raised an exception during a check."""
