"""The result of tune."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StageStatus = Literal["ok", "inconclusive", "skipped", "interrupted"]


@dataclass(frozen=True, slots=True)
class TunedStage:
    """One search of a tuning."""

    name: str  # as --skip knows it
    status: StageStatus
    answer: str | None
    detail: str  # why this answer, or why there is none
    seconds: float
    arguments: tuple[str, ...]  # of lrscout, as on a command line
    record: str | None  # the path of its record


@dataclass(frozen=True, slots=True)
class TuneResult:
    """A batch size, a learning rate for it and a schedule, each found with the ones before it."""

    stages: tuple[TunedStage, ...]
    batch_size: int | None  # None if it was not searched for, or cannot be set
    lr: float | None  # the peak rate under the schedule
    schedule: str | None
    lines: tuple[str, ...]  # to paste into a training script
    recipe: str  # with the answers, for every command to read
    seconds: float
