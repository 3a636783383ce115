"""The arithmetic of a plot: limits, ticks, and series reduced to what a terminal can show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lrscout.formatting import scientific

HUGE = 1e150  # values are clipped to this so that differences and products are finite
TINY = 1e-100  # a smaller range counts as a single value

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """The range of an axis and its labelled ticks."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    label: str = ""

    def fraction(self, value: float) -> float:
        """The position of a value: 0 at the low end of the axis, 1 at the high end."""
        return (value - self.low) / (self.high - self.low)


def loss_limits(raw: Sequence[float], smoothed: Sequence[float]) -> tuple[float, float]:
    """The range of losses to show: the fall and the start of the rise, but not the divergence after it.

    Both sequences must be finite, in the order of the sweep, and not empty.
    """
    best = min(range(len(smoothed)), key=smoothed.__getitem__)
    low = smoothed[best]
    before = sorted(raw[: best + 1])
    if best < 3:  # the loss only rises: show the lower half
        before = sorted(raw)[: max(1, len(raw) // 2)]
    start = _quantile(sorted(raw[: max(1, (best + 1) // 4)]), 0.5)  # a median, robust to an outlier at the start
    fall = max(start - low, 0.0)
    high = max(start + 0.35 * fall, min(_quantile(before, 0.95), start + fall))
    if best < 3:
        high = max(high, before[-1])
    low = min(low, _quantile(sorted(raw), 0.02))  # the dots below the line, except outliers
    if high - low <= max(1e-9 * max(abs(low), abs(high)), TINY):
        room = max(abs(low) * 0.1, TINY) if abs(low) > TINY else 1.0
        return low - room, low + room
    margin = 0.04 * (high - low)
    return low - margin, high + margin


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def value_axis(low: float, high: float, rows: int, label: str = "") -> Axis:
    """An axis with round numbers, about one in three rows."""
    step = _nice_step((high - low) / max(2, rows / 3))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    values = [k * step for k in range(first, last + 1)] or [low]
    return Axis(low, high, tuple((v, _number(v, step, max(abs(low), abs(high)))) for v in values), label)


def _nice_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)


def _number(value: float, step: float, largest: float) -> str:
    if largest >= 1e5 or largest < 1e-3:
        if abs(value) < step / 2:
            return "0"
        decimals = max(0, math.floor(math.log10(abs(value))) - math.floor(math.log10(step) + 1e-9))
        return scientific(value, min(decimals + (not _is_round(step)), 12))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9) + (not _is_round(step)))
    return f"{value:.{decimals}f}" if abs(value) >= step / 2 else f"{0:.{decimals}f}"


def _is_round(step: float) -> bool:
    """Whether the step has a single digit: 2, but not 2.5."""
    digit = step / 10.0 ** math.floor(math.log10(step) + 1e-9)
    return abs(digit - round(digit)) < 1e-6


def rate_axis(low: float, high: float, columns: int, label: str = "") -> Axis:
    """An axis over log10 of the rate, labelled at decades, or more finely if it spans few."""
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    decades = [float(d) for d in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
    ticks = [(d, scientific(10.0**d, 0)) for d in decades]
    if len(ticks) < 3:
        fine = [math.floor(low) + k + math.log10(m) for k in range(4) for m in (1, 2, 5)]
        ticks = [(x, scientific(10.0**x, 0)) for x in fine if low - 1e-9 <= x <= high + 1e-9]
    if len(ticks) < 3:
        first, last = 10.0**low, 10.0**high
        values = [v for v, _ in value_axis(first, last, 15).ticks if v > 0]
        ticks = [(math.log10(v), label) for v, label in zip(values, _labels(values, (last - first) / 1000))]
    return Axis(low, high, tuple(_without_collisions(ticks, high - low, columns)), label)


def step_axis(total: int, columns: int, label: str = "") -> Axis:
    """An axis over the steps of a run, with round numbers."""
    every = math.ceil(_nice_step(max(total / max(2, columns / 12), 1)))
    ticks = [(float(step), str(step)) for step in range(0, total + 1, every)]
    return Axis(0.0, total, tuple(_without_collisions(ticks, total, columns)), label)


def size_axis(low: int, high: int, columns: int, label: str = "") -> Axis:
    """An axis over log2 of the batch size, labelled at powers of two."""
    first, last = math.log2(low), math.log2(high)
    ticks = [(float(k), str(2**k)) for k in range(math.ceil(first), math.floor(last) + 1)]
    if len(ticks) < 2:
        ticks = [(first, str(low)), (last, str(high))]
    first, last = first - 0.1, last + 0.1  # keeps the outer points off the frame
    return Axis(first, last, tuple(_without_collisions(ticks, last - first, columns)), label)


def _labels(values: Sequence[float], tolerance: float) -> list[str]:
    """Labels with the same number of digits, the fewest that keep them accurate."""
    for decimals in range(1, 15):
        labels = [scientific(v, decimals) for v in values]
        if all(abs(float(label) - v) < tolerance for label, v in zip(labels, values)):
            break
    return labels


def _without_collisions(ticks: list[tuple[float, str]], span: float, columns: int) -> list[tuple[float, str]]:
    """Every k-th tick, for the smallest k that leaves two columns between labels."""
    room = max((len(label) for _, label in ticks), default=0) + 2
    for every in range(1, len(ticks)):
        kept = ticks[::every]
        if all((b[0] - a[0]) / span * columns >= room for a, b in pairwise(kept)):
            return kept
    return ticks[:1]


def thin(points: Points, parts: int) -> Points:
    """The lowest and the highest point of each part, so that peaks are kept."""
    if len(points) <= 2 * parts:
        return points
    kept: Points = []
    for part in range(parts):
        some = points[part * len(points) // parts : (part + 1) * len(points) // parts]
        kept += sorted({min(some, key=lambda p: p[1]), max(some, key=lambda p: p[1])})
    return kept


def inside(points: Points, low: float, high: float) -> Points:
    """The points between the limits."""
    return [p for p in points if low <= p[1] <= high]


def pieces(points: Points, low: float, high: float) -> list[Points]:
    """The pieces of a line between the limits; each is cut exactly at the limit."""
    if len(points) == 1:
        return [inside(points, low, high)]
    found: list[Points] = []
    for a, b in pairwise(points):
        segment = _clipped(a, b, low, high)
        if segment is None:
            continue
        if found and found[-1][-1] == segment[0]:
            found[-1].append(segment[1])
        else:
            found.append(list(segment))
    return found


def _clipped(
    a: tuple[float, float], b: tuple[float, float], low: float, high: float
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    if max(a[1], b[1]) < low or min(a[1], b[1]) > high:
        return None
    return _pulled(a, b, low, high), _pulled(b, a, low, high)


def _pulled(end: tuple[float, float], other: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """The end of a segment, moved along it to the limit if it lies beyond."""
    limit = min(max(end[1], low), high)
    if limit == end[1]:
        return end
    share = (limit - end[1]) / (other[1] - end[1])
    return end[0] + share * (other[0] - end[0]), limit
