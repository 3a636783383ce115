"""A short training run, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TrainingStatus = Literal["ok", "diverged", "non_finite", "given_up"]  # given_up: clearly worse than another run


@dataclass(frozen=True, slots=True)
class TrainingPoint:
    """One optimizer step of a training run."""

    step: int  # from 0
    lr: float  # the largest rate of any parameter group
    loss: float  # on the batch, before the step; may be nan or inf
    val_loss: float | None = None  # on held-out data, after the step; None if not evaluated at this step


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The measurements of a short training run, and how it ended."""

    points: tuple[TrainingPoint, ...]
    status: TrainingStatus
    seconds: float
