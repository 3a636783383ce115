"""Runs and results of compare-schedulers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lrscout.results.training import TrainingPoint

RunStatus = Literal["ok", "diverged", "non_finite", "failed"]  # failed: its process died twice
Role = Literal["tune", "score"]
Verdict = Literal["best", "tie", "worse", "better", "baseline", "diverged", "failed", "descriptive"]


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One training run of a comparison."""

    schedule: str  # a built-in name, torch:CLASS, or the path of user code
    label: str  # the schedule as the user wrote it
    seed: int
    peak_lr: float
    role: Role  # "tune" runs choose the learning rate and do not count towards the score
    status: RunStatus
    final: float | None  # the metric over the last 5% of the steps; None if the run did not finish
    best: float | None  # the best evaluation; without held-out data, the best twentieth of the training loss
    auc: float | None  # mean training loss over the whole run
    points: tuple[TrainingPoint, ...]  # at most 50, each with the mean loss since the previous point
    seconds: float
    fingerprint: str | None = None  # of the initial weights, a blank, and what tells the first batches
    error: str | None = None  # why the run failed


@dataclass(frozen=True, slots=True)
class FinalMetric:
    """The mean final metric of a schedule over its seeds, with a 95% confidence interval."""

    mean: float
    low: float | None  # None with fewer than 3 seeds
    high: float | None
    n: int  # number of seeds whose run finished


@dataclass(frozen=True, slots=True)
class Difference:
    """The metric of a schedule minus that of the baseline, with a 95% confidence interval."""

    mean: float
    low: float | None  # None with fewer than 3 seeds
    high: float | None
    p_adjusted: float | None  # p-value, Holm-corrected over all differences of the comparison


@dataclass(frozen=True, slots=True)
class RateRange:
    """The learning rates tried whose results cannot be distinguished from the best."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RankedSchedule:
    """One schedule in the ranking of a comparison."""

    schedule: str
    label: str
    params: Mapping[str, Any]
    peak_lr: float
    final: FinalMetric | None  # None if no run finished
    difference: Difference | None  # None for the baseline, and if there is nothing to compare
    verdict: Verdict
    diverged: int  # number of scored runs that diverged
    peak_lr_range: RateRange | None = None  # None if the rate was not tuned, or no rate let all runs finish


@dataclass(frozen=True, slots=True)
class Metric:
    """The quantity by which runs are compared."""

    name: str  # "held-out loss", "training loss", or the path of the user's function
    mode: Literal["min", "max"]
    held_out: bool


@dataclass(frozen=True, slots=True)
class CompareResult:
    """The result of compare-schedulers."""

    ranking: tuple[RankedSchedule, ...]  # best first
    runs: tuple[ComparedRun, ...]
    metric: Metric
    baseline: str | None  # label of the schedule that others are compared with; None before there are scores
    paired: bool  # whether all runs of a seed started from the same weights and batches
    steps_total: int  # optimizer steps of all runs together
    steps: int  # of each run, after --budget was applied
    seeds: int  # scored per schedule, after --budget was applied
    center_lr: float | None  # from --lr or the sweep; None if the rate of the optimizer was used
    seconds: float  # of training, over all runs
