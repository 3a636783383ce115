"""What find-batch-size tries and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["fits", "out_of_memory", "killed", "failed", "timeout", "too_few_samples"]
BatchStopReason = Literal[
    "out_of_memory", "dataset", "max", "throughput", "timeout", "unstable", "failed", "interrupted", "estimate"
]


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
class MemoryBudget:
    """How much memory a training step may take."""

    bytes: int | None  # None: no limit is known
    margin: float  # share of it that is kept free

    @property
    def limit_bytes(self) -> int | None:
        """The budget less its margin."""
        return None if self.bytes is None else int(self.bytes * (1 - self.margin))


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
        """How much memory a training step may take: the budget less its margin."""
        return MemoryBudget(self.budget_bytes, self.margin).limit_bytes

    def trial_of(self, batch_size: int | None) -> Trial | None:
        """The trial of this size; None where it was not tried."""
        return next((trial for trial in self.trials if trial.batch_size == batch_size), None)
