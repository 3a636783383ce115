"""Trials and results of find-batch-size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lrscout.results.learning_rate import Suggestion

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
class StepTiming:
    """How long a training step takes at a batch size, timed in turn with the others."""

    batch_size: int
    samples: int  # in a step: of all micro-batches and ranks
    seconds: float  # the median of the steps
    low: float  # of the median's 95% interval, in seconds
    high: float
    steps: int
    loader_share: float | None = None  # fraction of it spent waiting for the loader

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds


@dataclass(frozen=True, slots=True)
class NoiseMoment:
    """The gradient noise scale after some steps of training."""

    step: int
    loss: float  # the mean over the batches that it was measured on
    noise: float | None  # in samples; None if the gradient could not be told from its noise
    samples: int  # that it was measured on


@dataclass(frozen=True, slots=True)
class GradientNoise:
    """The gradient noise scale while a model trains: up to about so many samples, a larger batch saves steps.

    Source: McCandlish et al. (2018), https://arxiv.org/abs/1812.06162.
    """

    batch_size: int  # that the gradients were of
    moments: tuple[NoiseMoment, ...]
    scale: float  # the median of the moments, in samples
    is_bound: bool = False  # the scale is at least this: more samples would be needed to measure it


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
    optimizer: str | None = None  # the name of its class


@dataclass(frozen=True, slots=True)
class ScaledRate:
    """The learning rate for the recommended batch size: the target's own, scaled by a rule, or a measured one."""

    lr: float | None  # None if it is scaled, and the target's own is unknown
    factor: float | None  # that the target's own rate is multiplied by; None if it is measured, and that is unknown
    rule: str  # "find-lr" where it is measured, with --find-lr
    is_far: bool  # the sizes are too far apart for any rule
    measured: tuple[Suggestion, ...] = ()  # by find-lr, one for each optimizer; the first one's is `lr`


@dataclass(frozen=True, slots=True)
class Split:
    """One way to reach an effective batch size: micro-batch x accumulation steps x processes."""

    batch_size: int
    accumulate: int
    processes: int


@dataclass(frozen=True, slots=True)
class LoaderTiming:
    """How long a training step takes with a number of worker processes that load its batches."""

    workers: int | None  # num_workers; None if the loader is not a DataLoader
    seconds_per_step: float
    loader_share: float  # fraction of it spent waiting for the loader


@dataclass(frozen=True, slots=True)
class Loading:
    """How long a training step takes with and without its loader, at the recommended size."""

    own: LoaderTiming | None  # with the loader as the target has it; None if that could not be timed
    seconds_without: float | None  # a step with batches that were loaded before
    timings: tuple[LoaderTiming, ...] = ()  # with --workers auto: each number that was tried, the target's own included
    workers: int | None = None  # with --workers auto: the fewest within 5% of the fastest
    fed: bool | None = None  # whether a step with `workers` (or else `own`) takes hardly longer than without the loader
    problem: str | None = None  # why it was not timed, or not with more workers
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class BatchSizeResult:
    """The result of find-batch-size. Every size in it was run, except that of `estimate`."""

    batch_size: int | None  # recommended
    reason: str  # why this size is recommended, or why none is
    largest_fitting: int | None
    fastest: Throughput | None  # the smallest size with about the highest throughput
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
    objective: str = "time"  # what the size is recommended for
    timings: tuple[StepTiming, ...] = ()  # in order of size
    noise: GradientNoise | None = None
    noise_scale: float | None = None  # that the objective was judged by, measured or assumed; None: by none
    rate: ScaledRate | None = None  # for the recommended size, where it is not the target's own, or with --find-lr
    loading: Loading | None = None  # where the loader limits the training, or with --workers auto
    rate_interrupted: bool = False  # Ctrl-C ended the search of --find-lr

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the search, or what follows it."""
        evaluation, loading = self.evaluation, self.loading
        ends = self.stop_reason, None if evaluation is None else evaluation.stop_reason
        return "interrupted" in ends or self.rate_interrupted or (loading is not None and loading.interrupted)

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

    def timing_of(self, batch_size: int | None) -> StepTiming | None:
        """The timing of this size, or None if it was not timed."""
        return next((timing for timing in self.timings if timing.batch_size == batch_size), None)
