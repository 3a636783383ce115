"""The result of run: a training from beginning to end."""

from __future__ import annotations

from dataclasses import dataclass

from lrscout.results.training import TrainingPoint


@dataclass(frozen=True, slots=True)
class TrainRunResult:
    """How a program trained under a schedule, and how it ended."""

    schedule: str  # as the user wrote it
    peak_lr: float  # of the parameter group with the largest rate
    steps: int  # of the schedule
    steps_taken: int  # by the program, which may end earlier or later
    points: tuple[TrainingPoint, ...]  # each with the mean loss since the previous one; a few thousand at most
    first_loss: float  # at the first step
    final_loss: float  # the mean over the last 5% of the steps taken
    seconds: float  # since the first step
    exit_code: int | None = None  # as a shell tells it: 128 + n for signal n; None as long as the program is running
