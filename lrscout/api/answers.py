"""What every search of the Python API answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lrscout.records import to_json
from lrscout.results import RunRecord, Status


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """A record, and what all searches tell alike."""

    record: RunRecord[Any]

    @property
    def status(self) -> Status:
        """ok, or inconclusive where there is no answer."""
        return self.record.status

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is worth knowing about this run."""
        return self.record.warnings

    def to_json(self) -> str:
        """The JSON document that the command prints with --json."""
        return to_json(self.record)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status}: {self}>"
