"""A run of a command: what was requested, and the record that is saved."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

R_co = TypeVar("R_co", covariant=True)

SCHEMA = 1  # version of the JSON documents; increased if a key is removed or changes its meaning

Status = Literal["ok", "inconclusive", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Target:
    """The code to run, in a form that this process or another can load."""

    path: str | None  # None for objects passed from Python
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    app_dir: str | None = None  # put first on sys.path; None for the current folder

    def as_dict(self) -> dict[str, Any]:
        """The target as its record shows it."""
        return {"path": self.path, "kwargs": dict(self.kwargs), "app_dir": self.app_dir}

    @property
    def label(self) -> str:
        """The target in one line; empty for objects passed from Python."""
        return self.path or ""


PLACEHOLDERS = ("seed", "steps", "batch_size")
"""What lrscout puts into a training command, where the command has its name in braces: `--seed {seed}`."""


@dataclass(frozen=True, slots=True)
class CommandTarget:
    """A training command, as its user starts it."""

    command: tuple[str, ...]
    cwd: str
    since: float = field(default_factory=time.time, compare=False)  # what is older, a search must leave as it is

    subject: ClassVar[str] = "The command"  # of what messages say about it

    @property
    def start(self) -> str:
        """What is done until it trains, as the progress line says it."""
        return "starting the command"

    def takes(self, placeholder: str) -> bool:
        """Whether the command has a place for one of the PLACEHOLDERS."""
        return any(f"{{{placeholder}}}" in word for word in self.command)

    def filled(self, **values: int) -> tuple[str, ...]:
        """The command with values for its placeholders; other braces stay as they are."""
        words = self.command
        for name, value in values.items():
            words = tuple(word.replace(f"{{{name}}}", str(value)) for word in words)
        return words

    def as_dict(self) -> dict[str, Any]:
        """The target as its record shows it."""
        return {"command": list(self.command), "cwd": self.cwd}

    @property
    def label(self) -> str:
        """The command in one line, as a shell reads it."""
        return shlex.join(self.command)


@dataclass(frozen=True, slots=True)
class TargetOnRanks(CommandTarget):
    """A target, and the command that trains it on several ranks."""

    target: Target = field(default_factory=lambda: Target(None))
    subject: ClassVar[str] = "The target"

    @property
    def start(self) -> str:
        """What is done until it trains, as the progress line says it."""
        return f"starting the ranks, building {self.label}"

    def as_dict(self) -> dict[str, Any]:
        """The target as its record shows it."""
        return self.target.as_dict()

    @property
    def label(self) -> str:
        """The target in one line."""
        return self.target.label


@dataclass(frozen=True, slots=True)
class RunRecord(Generic[R_co]):
    """One run of a command: everything that is saved, shown, and passed to scripts.

    Call `RunRecord(...)`, not an alias such as `LrRecord(...)`: on Python 3.11 the alias raises TypeError, because
    `Generic` sets an attribute that a frozen class with slots rejects.
    """

    command: str
    status: Status
    target: Mapping[str, Any]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    result: R_co | None  # None if the run ended before it had one
    warnings: tuple[str, ...] = ()
    error: str | None = None  # why a run failed
    schema: int = SCHEMA
