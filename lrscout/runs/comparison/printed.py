"""The metric among the lines that a command prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from lrscout.errors import LrscoutError
from lrscout.processes import attach_errors
from lrscout.processes.driving import AttachedSession

PUNCTUATION = " .,;:"  # after a number in a sentence, which a pattern such as [0-9.]+ matches too


class Printed:
    """Reads the values of a metric off the lines of a run, as they come."""

    def __init__(self, pattern: re.Pattern[str] | None) -> None:
        self._pattern = pattern
        self._found: list[str] = []
        self._before: int | None = None  # how many were printed before the last steps

    def line(self, text: str) -> None:
        """Take in a line."""
        if self._pattern is not None:
            self._found += [match[1] or "" for match in self._pattern.finditer(text)]

    def last_steps_begin(self) -> None:
        """Note that what comes now is printed during the last steps, or after them."""
        self._before = len(self._found)

    @property
    def is_early(self) -> bool:
        """Whether nothing was printed since the last steps began."""
        return self._before == len(self._found)

    def problem(self, output: Sequence[str]) -> LrscoutError | None:
        """What is said where there is no value; None where there is one."""
        last = self._found[-1] if self._found else None
        if self._pattern is None or (last is not None and _number(last) is not None):
            return None
        return attach_errors.nothing_printed(self._pattern.pattern, last, output)

    @property
    def values(self) -> list[float] | None:
        """The values in order, or None if no pattern was given."""
        return (
            None if self._pattern is None else [value for text in self._found if (value := _number(text)) is not None]
        )


def _number(text: str) -> float | None:
    try:
        return float(text.strip(PUNCTUATION))
    except ValueError:
        return None


class WatchedSession:
    """The session of a run, which tells when the step of this number is to be taken and all before it are."""

    def __init__(self, session: AttachedSession, step: int, tell: Callable[[], None]) -> None:
        self._session, self._left, self._tell = session, step, tell
        self._early: list[float] = []

    def step(self) -> None:
        if self._left == 0:
            self._early += self._session.losses(wait=True)
            self._tell()
        self._left -= 1
        self._session.step()

    def losses(self, wait: bool = False) -> list[float]:
        early, self._early = self._early, []
        return [*early, *self._session.losses(wait)]

    def evaluate(self) -> None:
        pass
