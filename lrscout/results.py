"""Every result as a frozen dataclass of plain numbers: the language that all other modules speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA = 1  # of the JSON documents; raised when a key changes its meaning or goes away

Status = Literal["ok", "inconclusive", "failed", "interrupted"]
StopReason = Literal["completed", "diverged", "non_finite", "interrupted"]
TrainingStatus = Literal["ok", "diverged", "non_finite"]


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One optimizer step of a sweep."""

    step: int  # from 0
    lr: float  # the rate of the parameter group with the largest rate
    loss: float  # of the batch, before the step (with held-out batches: after it); may be nan or inf
    smoothed_loss: float  # bias-corrected exponential average of the finite losses so far


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep measured, in the order it was measured, and why it ended."""

    points: tuple[SweepPoint, ...]
    stop_reason: StopReason
    seconds: float

    @property
    def steps(self) -> int:
        return len(self.points)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What one rule reads off a sweep; `lr` is None where the sweep does not answer, and `reason` says why."""

    lr: float | None
    rule: str
    reason: str
    low: float | None = None  # the band of usable rates around lr
    high: float | None = None
    groups: tuple[float, ...] = ()  # the rate of every parameter group, in the optimizers' order


@dataclass(frozen=True, slots=True)
class LrResult:
    """The answer of find-lr with the sweep behind it."""

    suggestion: Suggestion
    suggestions: Mapping[str, float | None]  # every rule's rate
    points: tuple[SweepPoint, ...]
    stop_reason: StopReason
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainingPoint:
    """One optimizer step of a training run."""

    step: int  # from 0
    lr: float  # the rate of the parameter group with the largest rate
    loss: float  # of the batch, before the step; may be nan or inf
    val_loss: float | None = None  # on held-out data, after the step; None: not evaluated there


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a short training run measured, step by step, and how it ended."""

    points: tuple[TrainingPoint, ...]
    status: TrainingStatus
    seconds: float


@dataclass(frozen=True, slots=True)
class Target:
    """What the user pointed at: enough to load it again, in this process or another."""

    path: str | None  # None: live objects, handed over in Python
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    app_dir: str | None = None  # first on sys.path; None: the current folder


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


RESULTS: dict[str, type] = {"find-lr": LrResult}
"""Every command's class of result."""
