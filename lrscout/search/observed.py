"""Which batches a training command really runs, read from the shapes that its model is called with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

StepShapes = Sequence[Sequence[Sequence[int]]]
"""The shapes of a step: for each rank, one of each micro-batch."""

Unit = Literal["micro-batch", "rank", "all"]
UNITS: tuple[Unit, ...] = ("micro-batch", "rank", "all")
GROWN = 0.9  # of the growth of the size: a batch that grew so far has followed it, whatever its shape means
STEADY = 0.01  # a peak that grows less than that, as the shapes do not either, is no reaction to the size


@dataclass(frozen=True, slots=True)
class Reading:
    """What the program takes the size for: the samples along an axis of the shapes, and of how much."""

    axis: int
    unit: Unit

    def samples(self, step: StepShapes) -> int:
        """The size that these shapes have in this reading."""
        ranks = [[shape[self.axis] for shape in rank if len(shape) > self.axis] for rank in step]
        if self.unit == "micro-batch":
            return max((max(rank, default=0) for rank in ranks), default=0)
        return (max if self.unit == "rank" else sum)(sum(rank) for rank in ranks)

    def agrees(self, step: StepShapes, size: int) -> bool:
        """Whether the shapes are those of this size, which may not divide evenly."""
        parts = {"micro-batch": 1, "rank": max(map(len, step)), "all": sum(map(len, step))}[self.unit]
        return size - parts < self.samples(step) <= size


@dataclass(frozen=True, slots=True)
class Observation:
    """What the steps of a trial were seen to be made of; None where that cannot be told."""

    micro_batch: int | None = None  # samples that a rank runs at once
    samples: int | None = None  # of all ranks, in a step
    cap: int | None = None  # the size that was run where it is below the one that was asked for


class ObservedSizes:
    """Learns from trial to trial what the program takes its batch size for."""

    def __init__(self) -> None:
        self._readings: tuple[Reading, ...] | None = None  # that agree with all trials; None before the first
        self._before: tuple[int, StepShapes, int | None] | None = None  # the largest trial that followed its size

    def note(self, size: int, steps: Sequence[StepShapes], peak_bytes: int | None) -> Observation:
        """Take in the steps of a trial, in which all optimizer steps but the first are alike."""
        seen = [step for step in steps[1:] or steps if any(step)]
        if not seen:
            return Observation()
        step = max(seen, key=_elements)
        cap = self._cap(size, step, peak_bytes)
        if cap is None and (self._before is None or size > self._before[0]):
            self._before = size, step, peak_bytes
        if not self._readings:
            return Observation(cap=cap)
        axis = self._readings[0].axis
        return Observation(Reading(axis, "micro-batch").samples(step), Reading(axis, "all").samples(step), cap)

    def _cap(self, size: int, step: StepShapes, peak_bytes: int | None) -> int | None:
        """The size that was run instead of this one, if it was not followed; narrows the readings down otherwise."""
        axes = range(max(len(shape) for rank in step for shape in rank))
        possible = [Reading(axis, unit) for axis in axes for unit in UNITS]
        readings = possible if self._readings is None else self._readings
        agreeing = tuple(each for each in readings if each.agrees(step, size))
        if self._readings is None or agreeing:
            self._readings = agreeing
            return None
        if self._before is None or self._before[0] >= size:
            return None
        before, shapes, peak_before = self._before
        if self._readings:
            followed = _elements(step) >= GROWN * size / before * _elements(shapes)
            cap = self._readings[0].samples(step)
            if not followed and cap < size:
                return max(cap, before)
            self._readings = ()  # the shapes mean something else than it seemed
            return None
        if peak_bytes is None or peak_before is None or peak_bytes > (1 + STEADY) * peak_before:
            return None
        return before if step == shapes else None


def _elements(step: StepShapes) -> int:
    return sum(math.prod(shape) for rank in step for shape in rank)
