"""Every result as a frozen dataclass of plain numbers: the language that all other modules speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA = 1  # of the JSON documents; raised when a key changes its meaning or goes away

Status = Literal["ok", "inconclusive", "failed", "interrupted"]
Use = Literal["decay", "constant"]  # the peak of a decaying schedule (cosine, linear, one-cycle, wsd), or one rate
Confidence = Literal["high", "medium", "low"]
StopReason = Literal["completed", "diverged", "non_finite", "interrupted"]
TrainingStatus = Literal["ok", "diverged", "non_finite"]
Outcome = Literal["fits", "out_of_memory", "killed", "failed", "timeout", "too_few_samples"]
BatchStopReason = Literal[
    "out_of_memory", "dataset", "max", "throughput", "timeout", "unstable", "failed", "interrupted", "estimate"
]


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
    below: float | None = None  # the rate of divergence that an earlier, coarser sweep saw, and this one looks below

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
    use: Use | None = None  # what the rate is for; None where the rule does not tell
    confidence: Confidence | None = None  # None where there is no evidence about the rule
    doubts: tuple[str, ...] = ()  # why the confidence is not high


@dataclass(frozen=True, slots=True)
class SeedSweep:
    """What the same search found from another seed."""

    seed: int
    uses: Mapping[Use, float | None]
    points: tuple[SweepPoint, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """One short training at one rate."""

    lr: float  # the peak of its schedule
    status: TrainingStatus
    loss: float | None  # what it reached; None where it failed
    steps: int


@dataclass(frozen=True, slots=True)
class Refinement:
    """How short trainings moved the suggestion."""

    before: float  # the sweep's suggestion, for the length of training that the probes speak for
    after: float
    horizon: int  # that length, in steps
    metric: Literal["held-out loss", "training loss"]
    initial: float  # the metric before training
    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True)
class LrResult:
    """The answer of find-lr with the sweep behind it."""

    suggestion: Suggestion
    suggestions: Mapping[str, float | None]  # every rule's rate
    points: tuple[SweepPoint, ...]
    stop_reason: StopReason
    steps: int  # taken in all, the coarse sweep's and the other seeds' too
    seconds: float
    uses: Mapping[Use, float | None] = field(default_factory=dict)  # the headline's rate for every use
    coarse: tuple[SweepPoint, ...] = ()  # of the sweep that found where to look; none where the range was given
    seeds: tuple[SeedSweep, ...] = ()  # with --seeds: all of them, the first too
    refinement: Refinement | None = None  # with --refine


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
class Trial:
    """One attempt at a batch size: some training steps, or why there were none."""

    batch_size: int
    outcome: Outcome
    peak_bytes: int | None  # what the whole step takes; None where it did not run or the device tells no peak
    samples_per_second: float | None
    seconds: float  # of the whole trial, with building the workload
    steps: int  # that ran, with those that were only timed
    forward_bytes: int | None = None  # the peak of forward and backward alone
    optimizer_bytes: int | None = None  # the peak of the optimizer's step alone
    loader_share: float | None = None  # of a timed step's time, spent waiting for the loader
    growth_bytes: int | None = None  # that every further step adds; None: it does not grow
    reason: str | None = None  # why it did not fit or failed


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast a batch size trains."""

    batch_size: int
    samples_per_second: float


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """The line that the peak follows over the batch size, near the largest sizes that ran."""

    base_bytes: int
    bytes_per_sample: int
    fit_error: float  # how far the peak that is farthest off lies from the line, as a share of the largest peak

    def peak_bytes(self, batch_size: int) -> int:
        return self.base_bytes + self.bytes_per_sample * batch_size


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What a step would take, from shapes alone: nothing was run."""

    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes_per_sample: int
    batch_size: int | None  # that would fit; None: not even one sample would


@dataclass(frozen=True, slots=True)
class OwnSize:
    """The batch size that the target has without being told one, and the learning rate that goes with it."""

    batch_size: int
    lr: float | None  # None: the target has no optimizer of its own


@dataclass(frozen=True, slots=True)
class Split:
    """One way to an effective batch size: micro-batch x accumulation steps x processes."""

    batch_size: int
    accumulate: int
    processes: int


@dataclass(frozen=True, slots=True)
class BatchSizeResult:
    """The answer of find-batch-size with the trials behind it; every size in it ran."""

    batch_size: int | None  # the recommended one
    reason: str  # for it, or why there is none
    largest_fitting: int | None
    fastest: Throughput | None  # the smallest within 5 % of the best
    mode: str
    stop_reason: BatchStopReason
    trials: tuple[Trial, ...]
    memory_model: MemoryModel | None
    budget_bytes: int | None
    margin: float  # share of the budget that is kept free
    seconds: float
    dataset_size: int | None = None
    friendly: int | None = None  # the largest fitting size, rounded down to one that hardware likes
    own: OwnSize | None = None
    splits: tuple[Split, ...] = ()  # for --effective-batch-size
    estimate: MemoryEstimate | None = None  # of --dry-run
    evaluation: BatchSizeResult | None = None  # of --eval

    @property
    def limit_bytes(self) -> int | None:
        """What a step may take: the budget without its margin."""
        return None if self.budget_bytes is None else int(self.budget_bytes * (1 - self.margin))

    def trial_of(self, batch_size: int | None) -> Trial | None:
        """The trial of this size; None where it was not tried."""
        return next((trial for trial in self.trials if trial.batch_size == batch_size), None)


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


RESULTS: dict[str, type] = {"find-lr": LrResult, "find-batch-size": BatchSizeResult}
"""Every command's class of result."""
