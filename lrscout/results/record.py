"""A run of a command: what was asked for, and what is saved of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA = 1  # of the JSON documents; raised when a key changes its meaning or goes away

Status = Literal["ok", "inconclusive", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Target:
    """What the user pointed at: enough to load it again, in this process or another."""

    path: str | None  # None: live objects, handed over in Python
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    app_dir: str | None = None  # first on sys.path; None: the current folder

    def as_dict(self) -> dict[str, Any]:
        """The target as its record shows it."""
        return {"path": self.path, "kwargs": dict(self.kwargs), "app_dir": self.app_dir}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a command: everything that is saved, shown again and given to scripts."""

    command: str
    status: Status
    target: Mapping[str, Any]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    result: Any | None  # of the command's class in RESULTS; None: it failed before there was anything to say
    warnings: tuple[str, ...] = ()
    error: str | None = None  # what ended a failed run
    schema: int = SCHEMA
