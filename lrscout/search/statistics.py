"""Smoothing and spread of noisy losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median


class ExponentialAverage:
    """Exponential moving average with bias correction: a constant smooths to itself from the first value on.

    Written as a step towards each new value, so that no rounding moves a constant. The correction is Adam's
    (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980, section 3). Values that are not finite leave it unchanged.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._power = 1.0  # weight ** number of values
        self.value = math.nan

    def update(self, value: float) -> float:
        """Take one more value; returns the average so far (nan before the first finite value)."""
        if math.isfinite(value):
            first = self._power == 1.0
            self._power *= self._weight
            step = (1 - self._weight) / (1 - self._power)
            self.value = value if first else self.value + step * (value - self.value)
        return self.value


def local_regression(xs: Sequence[float], ys: Sequence[float], half_width: float) -> tuple[float, ...]:
    """Smooth without lag: at every x the value of a line fitted to the points within `half_width`.

    Points weigh by the tricube of their distance (LOESS: Cleveland 1979, doi:10.1080/01621459.1979.10481038).
    `xs` must not decrease. Where the line is not determined, the weighted mean stands in.
    """
    smoothed = []
    start = 0
    for x in xs:
        while xs[start] <= x - half_width and xs[start] < x:
            start += 1
        w0 = w1 = w2 = y0 = y1 = 0.0
        for i in range(start, len(xs)):
            distance = xs[i] - x
            if distance >= half_width and distance > 0:
                break
            weight = (1 - abs(distance / half_width) ** 3) ** 3
            w0 += weight
            w1 += weight * distance
            w2 += weight * distance * distance
            y0 += weight * ys[i]
            y1 += weight * distance * ys[i]
        determinant = w0 * w2 - w1 * w1
        if determinant > 1e-12 * w0 * w0 * half_width * half_width:
            smoothed.append((w2 * y0 - w1 * y1) / determinant)
        else:
            smoothed.append(y0 / w0)
    return tuple(smoothed)


def binned(xs: Sequence[float], ys: Sequence[float], bins: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Both series as the means of at most `bins` runs of equal length (the last may be shorter)."""
    size = -(-len(xs) // bins)
    starts = range(0, len(xs), size)
    return tuple(fmean(xs[i : i + size]) for i in starts), tuple(fmean(ys[i : i + size]) for i in starts)


def noise_level(values: Sequence[float]) -> float:
    """Standard deviation of the noise on a slowly moving series.

    From the mean absolute second difference, which a straight trend leaves at zero: for independent normal noise
    of deviation s it has deviation sqrt(6) s, and a normal's mean absolute value is sqrt(2 / pi) deviations. (The
    median would be more robust, but falls a fifth short where the noise is as skewed as an exponential.)
    0 for fewer than three values.
    """
    if len(values) < 3:
        return 0.0
    seconds = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:])]
    return sum(seconds) / len(seconds) / math.sqrt(6 * 2 / math.pi)


def robust_noise_level(values: Sequence[float]) -> float:
    """As noise_level, from the median of the second differences: a few wild values change nothing.

    Where the noise is skewed it falls short, by a fifth for an exponential.
    """
    if len(values) < 3:
        return 0.0
    return median(abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:])) / (0.6745 * math.sqrt(6))
