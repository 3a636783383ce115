"""What find-lr measures and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lrscout.results.training import TrainingStatus

Use = Literal["decay", "constant"]  # the peak of a decaying schedule (cosine, linear, one-cycle, wsd), or one rate
Confidence = Literal["high", "medium", "low"]
StopReason = Literal["completed", "diverged", "non_finite", "interrupted"]


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
    probing: Probing | None = None  # what was asked after it, where it could not know

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
class Probing:
    """What short trainings at constant rates say, where a sweep could not know."""

    why: str  # the sweep could not know
    start: float  # the rate that the first was made at
    best: float | None  # where the loss is lowest, between the rates tried; None where none learned anything
    initial: float  # the loss before training
    probes: tuple[Probe, ...]  # in rising rates
    low: float | None = None  # around the best: the rates that lose at most 5 % of the improvement
    high: float | None = None


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
    probing: Probing | None = None  # the short trainings (of the first seed), where a sweep could not know
    refinement: Refinement | None = None  # with --refine
    by_length: Mapping[str, Mapping[Use, float | None]] = field(default_factory=dict)  # as uses, by steps of training
