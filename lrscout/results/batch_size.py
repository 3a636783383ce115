"""Trials and results of find-batch-size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal[
    "fits",
    "out_of_memory",
    "killed",
    "failed",
    "timeout",
    "too_few_samples",
    "too_few_steps",  # a training command ended before the trial did
    "capped",  # a training command ran smaller batches than it was told
    "refused",  # a training command failed, and not for memory
]
BatchStopReason = Literal[
    "out_of_memory",
    "dataset",
    "max",
    "throughput",
    "timeout",
    "unstable",
    "failed",
    "interrupted",
    "estimate",
    "too_few_steps",
    "capped",
    "refused",
]


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempt to train at a batch size: a few steps, or the reason it failed."""

    batch_size: int
    outcome: Outcome
    peak_bytes: int | None  # of a whole step; None if it did not run or the device does not report it
    samples_per_second: float | None
    seconds: float  # of the whole trial, including building the workload
    steps: int  # completed, including those run only for timing
    forward_bytes: int | None = None  # peak of the forward and backward pass
    optimizer_bytes: int | None = None  # peak of the optimizer step
    loader_share: float | None = None  # fraction of the time of a step spent waiting for the loader
    growth_bytes: int | None = None  # memory added by each further step; None if it does not grow
    reason: str | None = None  # why it failed or did not fit
    micro_batch: int | None = None  # samples that a rank of a training command was seen to run at once
    samples: int | None = None  # that all its ranks together were seen to run in a step
    weight_bytes: int | None = None  # of a training command: those that its optimizers train
    gradient_bytes: int | None = None  # of them after a step
    optimizer_state_bytes: int | None = None
    activation_bytes: int | None = None  # held between the forward and the backward pass, with the batch
    cap: int | None = None  # where it is capped: the largest size that the program was seen to run instead


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
    """The training speed at a batch size."""

    batch_size: int
    samples_per_second: float


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """Peak memory as a linear function of the batch size, fitted to the largest sizes that ran."""

    base_bytes: int
    bytes_per_sample: int
    fit_error: float  # largest distance of a peak from the line, as a fraction of the largest peak

    def peak_bytes(self, batch_size: int) -> int:
        return self.base_bytes + self.bytes_per_sample * batch_size


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The memory of a training step, estimated from tensor shapes without running it."""

    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes_per_sample: int
    batch_size: int | None  # the largest that should fit, from --min up to --max and the dataset; None if none does
    memory_allows: int | None = None  # the same if memory were the only limit
    limited_by: Literal["memory", "dataset", "max"] = "memory"
    target_bytes: int = 0  # held by the target's modules and data, which count on the CPU


@dataclass(frozen=True, slots=True)
class OwnSize:
    """The batch size and the learning rate that the target uses by default."""

    batch_size: int
    lr: float | None  # None if the target has no optimizer


@dataclass(frozen=True, slots=True)
class Split:
    """One way to reach an effective batch size: micro-batch x accumulation steps x processes."""

    batch_size: int
    accumulate: int
    processes: int


@dataclass(frozen=True, slots=True)
class BatchSizeResult:
    """The result of find-batch-size. Every size in it was run, except that of `estimate`."""

    batch_size: int | None  # recommended
    reason: str  # why this size is recommended, or why none is
    largest_fitting: int | None
    fastest: Throughput | None  # the smallest size within 5% of the best throughput
    mode: str
    stop_reason: BatchStopReason
    trials: tuple[Trial, ...]
    memory_model: MemoryModel | None
    budget_bytes: int | None
    margin: float  # fraction of the budget to keep free
    seconds: float
    dataset_size: int | None = None
    friendly: int | None = None  # the largest fitting size, rounded down to one that suits the hardware
    own: OwnSize | None = None
    splits: tuple[Split, ...] = ()  # with --effective-batch-size
    estimate: MemoryEstimate | None = None  # with --dry-run
    evaluation: BatchSizeResult | None = None  # with --eval
    ranks: int | None = None  # of a training command

    @property
    def limit_bytes(self) -> int | None:
        """How much memory a training step may take: the budget less its margin."""
        return MemoryBudget(self.budget_bytes, self.margin).limit_bytes

    @property
    def answer(self) -> int | None:
        """The size that was asked for: the recommended one, or with --dry-run the estimated one."""
        return self.batch_size if self.estimate is None else self.estimate.batch_size

    def trial_of(self, batch_size: int | None) -> Trial | None:
        """The trial of this size, or None if it was not tried."""
        return next((trial for trial in self.trials if trial.batch_size == batch_size), None)
