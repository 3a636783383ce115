"""Every result as a frozen dataclass of plain numbers: the language that all other modules speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA = 1  # of the JSON documents; raised when a key changes its meaning or goes away

Status = Literal["ok", "inconclusive", "failed", "interrupted"]
StopReason = Literal["completed", "diverged", "non_finite", "interrupted"]
TrainingStatus = Literal["ok", "diverged", "non_finite"]
RunStatus = Literal["ok", "diverged", "non_finite", "failed"]  # failed: its process died, twice
Role = Literal["tune", "score"]
Verdict = Literal["best", "tie", "worse", "better", "baseline", "diverged", "failed", "descriptive"]


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


RESULTS: dict[str, type] = {"find-lr": LrResult, "compare-schedulers": CompareResult}
"""Every command's class of result."""
