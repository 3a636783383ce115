"""Measurements and results of find-lr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lrscout.results.training import TrainingStatus

Use = Literal["decay", "constant"]  # the peak of a decaying schedule (cosine, one-cycle, wsd), or a constant rate
Confidence = Literal["high", "medium", "low"]
StopReason = Literal["completed", "diverged", "non_finite", "interrupted"]


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One optimizer step of a sweep."""

    step: int  # from 0
    lr: float  # the largest rate of any parameter group
    loss: float  # on the batch before the step, or on held-out batches after it; may be nan or inf
    smoothed_loss: float  # bias-corrected exponential average of the finite losses so far


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The measurements of a sweep, in order, and why it ended."""

    points: tuple[SweepPoint, ...]
    stop_reason: StopReason
    seconds: float
    below: float | None = None  # the rate at which an earlier, coarse sweep diverged; this one stays below it
    probing: Probing | None = None  # short trainings, if the sweep was not conclusive

    @property
    def steps(self) -> int:
        return len(self.points)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The learning rate that one rule suggests. `lr` is None if the sweep is not conclusive; `reason` says why."""

    lr: float | None
    rule: str
    reason: str
    low: float | None = None  # the range of usable rates around lr
    high: float | None = None
    groups: tuple[float, ...] = ()  # the rate of each parameter group, in the order of the optimizers
    use: Use | None = None  # what the rate is for; None if the rule does not distinguish uses
    confidence: Confidence | None = None  # None if the rule has no measure of confidence
    doubts: tuple[str, ...] = ()  # why the confidence is not high


@dataclass(frozen=True, slots=True)
class SeedSweep:
    """The result of the same search with another seed."""

    seed: int
    uses: Mapping[Use, float | None]
    points: tuple[SweepPoint, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """One short training at one learning rate."""

    lr: float  # the peak of the schedule
    status: TrainingStatus
    loss: float | None  # at the end; None if the training failed
    steps: int


@dataclass(frozen=True, slots=True)
class Probing:
    """Short trainings at constant rates, made if the sweep is not conclusive."""

    why: str  # the sweep was not conclusive
    start: float  # the rate of the first training
    best: float | None  # the rate of the lowest loss, interpolated; None if no training reduced the loss
    initial: float  # the loss before training
    probes: tuple[Probe, ...]  # in order of increasing rate
    low: float | None = None  # range of rates that lose at most 5% of the best improvement
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Refinement:
    """How short trainings changed the suggestion."""

    before: float  # the suggestion of the sweep, scaled to the length of training that the probes represent
    after: float
    horizon: int  # that length, in steps
    metric: Literal["held-out loss", "training loss"]
    initial: float  # the metric before training
    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True)
class LrResult:
    """The result of find-lr."""

    suggestion: Suggestion
    suggestions: Mapping[str, float | None]  # by rule
    points: tuple[SweepPoint, ...]
    stop_reason: StopReason
    steps: int  # in total, including the coarse sweep and the other seeds
    seconds: float
    uses: Mapping[Use, float | None] = field(default_factory=dict)  # the suggested rate for each use
    coarse: tuple[SweepPoint, ...] = ()  # the coarse sweep that chose the range; empty if the user gave one
    seeds: tuple[SeedSweep, ...] = ()  # with --seeds: all of them, including the first
    probing: Probing | None = None  # short trainings with the first seed, if its sweep was not conclusive
    refinement: Refinement | None = None  # with --refine
    by_length: Mapping[str, Mapping[Use, float | None]] = field(default_factory=dict)  # `uses` by steps of training
    length_from: str | None = None  # what gave the length of the training, in a few words: "--horizon"
    others: tuple[OptimizerResult, ...] = ()  # of further optimizers, searched in turn after the first

    @property
    def of_each(self) -> tuple[LrResult, ...]:
        """What was found for each optimizer, this one first."""
        return self, *(other.result for other in self.others)


@dataclass(frozen=True, slots=True)
class OptimizerResult:
    """What was found for a further optimizer, while the others had their own rates."""

    number: int  # from 1, in the order of their first steps
    optimizer: str
    groups: Sequence[Mapping[str, Any]]  # name, parameters and own rate of each parameter group
    result: LrResult
