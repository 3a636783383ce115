"""What compare-schedulers measures and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lrscout.results.training import TrainingPoint

RunStatus = Literal["ok", "diverged", "non_finite", "failed"]  # failed: its process died, twice
Role = Literal["tune", "score"]
Verdict = Literal["best", "tie", "worse", "better", "baseline", "diverged", "failed", "descriptive"]


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One training run of a comparison."""

    schedule: str  # the registry's name, torch:CLASS or the path of user code
    label: str  # the schedule as it was given
    seed: int
    peak_lr: float
    role: Role  # tune: it chose a rate, and enters no score
    status: RunStatus
    final: float | None  # the metric over the last 5 % of the steps; None: not every run has an end
    best: float | None  # the best evaluation; without held-out data the best twentieth of the training loss
    auc: float | None  # mean training loss over the whole run
    points: tuple[TrainingPoint, ...]  # at most 50, each with the mean loss of the steps since the last
    seconds: float
    fingerprint: str | None = None  # of the initial weights and the first batches
    error: str | None = None  # what ended a failed run


@dataclass(frozen=True, slots=True)
class FinalMetric:
    """The mean over the seeds of what a schedule's runs reached, with its 95 % interval."""

    mean: float
    low: float | None  # None below 3 seeds
    high: float | None
    n: int  # seeds whose runs came to their end


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a schedule's metric lies above the baseline's, with its 95 % interval."""

    mean: float
    low: float | None  # None below 3 seeds
    high: float | None
    p_adjusted: float | None  # by Holm's correction over all differences of the comparison


@dataclass(frozen=True, slots=True)
class RateRange:
    """The rates tried that the noise does not tell from the best of them."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RankedSchedule:
    """A schedule's place in a comparison."""

    schedule: str
    label: str
    params: Mapping[str, Any]
    peak_lr: float
    final: FinalMetric | None  # None: no run came to its end
    difference: Difference | None  # None: it is the baseline, or there is nothing to compare
    verdict: Verdict
    diverged: int  # of the scored runs
    peak_lr_range: RateRange | None = None  # None: its rate was not tuned, or at no rate did all runs come to their end


@dataclass(frozen=True, slots=True)
class Metric:
    """What runs are compared by."""

    name: str  # held-out loss, training loss, or the path of the user's function
    mode: Literal["min", "max"]
    held_out: bool


@dataclass(frozen=True, slots=True)
class CompareResult:
    """The answer of compare-schedulers with the runs behind it."""

    ranking: tuple[RankedSchedule, ...]  # the best first
    runs: tuple[ComparedRun, ...]
    metric: Metric
    baseline: str | None  # the label that differences are taken from; None before there are scores
    paired: bool  # within a seed all runs began alike
    steps_total: int  # optimizer steps of all runs
    steps: int  # of every run, after --budget
    seeds: int  # scored, after --budget
    center_lr: float | None  # what --lr or the sweep gave; None: each optimizer's own
    seconds: float  # of all runs together
