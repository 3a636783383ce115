"""The result of check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CheckStatus = Literal["ok", "skip", "warn", "fail"]  # skip: it does not apply, or was left out


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found."""

    name: str
    status: CheckStatus
    detail: str  # what was seen, with its numbers
    advice: str | None = None  # what to do about it


@dataclass(frozen=True, slots=True)
class BatchField:
    """A part of a batch."""

    name: str  # its position or its key, and those of what it is in: 0, 1.ids
    shape: tuple[int, ...] | None  # None if it is not a tensor
    dtype: str  # or the type, if it is not a tensor
    device: str | None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What all checks found, in the order in which they were made."""

    checks: tuple[Check, ...]
    batch: tuple[BatchField, ...]  # of the first batch
    seconds: float

    def named(self, status: CheckStatus) -> tuple[str, ...]:
        """The names of the checks that ended like this."""
        return tuple(check.name for check in self.checks if check.status == status)
