"""A run of a command: what was asked for, and what is saved of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

R_co = TypeVar("R_co", covariant=True)

SCHEMA = 1  # of the JSON documents; raised when a key changes its meaning or goes away

Status = Literal["ok", "inconclusive", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Target:
    """What the user pointed at: enough to load it again, in this process or another."""

    path: str | None  # None: live objects, handed over in Python
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    app_dir: str | None = None  # first on sys.path; None: the current folder


@dataclass(frozen=True, slots=True)
class RunRecord(Generic[R_co]):
    """One run of a command: everything that is saved, shown again and given to scripts.

    Construct it as `RunRecord(...)`: on Python 3.11, calling the alias `LrRecord(...)` raises TypeError, because
    `Generic` sets an attribute that a frozen class with slots cannot take.
    """

    command: str
    status: Status
    target: Mapping[str, Any]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    result: R_co | None  # None if the run failed before it had one
    warnings: tuple[str, ...] = ()
    error: str | None = None  # what ended a failed run
    schema: int = SCHEMA
