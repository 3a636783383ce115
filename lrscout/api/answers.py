"""The answers of the Python API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from lrscout.records import to_json
from lrscout.report.terminal import Style
from lrscout.results import RunRecord, Status

R = TypeVar("R")


@dataclass(frozen=True, slots=True, repr=False)
class Answer(Generic[R]):
    """The answer of a search: its record, and what all answers have in common."""

    record: RunRecord[R]
    result: R

    @classmethod
    def of(cls, record: RunRecord[R]) -> Self:
        """The answer in a record.

        Raises:
            KeyboardInterrupt: the search was interrupted.
        """
        if record.status == "interrupted":
            raise KeyboardInterrupt
        assert record.result is not None  # a search that fails raises
        return cls(record, record.result)

    @property
    def status(self) -> Status:
        """`ok`, or `inconclusive` if there is no answer."""
        return self.record.status

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about this run."""
        return self.record.warnings

    def to_json(self) -> str:
        """The record as JSON, as the command prints it with --json."""
        return to_json(self.record)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status}: {self}>"


def page(width: int, color: bool) -> Style:
    """The style of a plot that is returned as text, so that its stream is not known."""
    return Style(width=width, color=color, unicode=True, live=False)
