"""A short training run, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TrainingStatus = Literal["ok", "diverged", "non_finite", "given_up"]  # given up: clearly worse than another


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
