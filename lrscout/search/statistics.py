"""Smoothing noisy losses and measuring their noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median


class ExponentialAverage:
    """An exponential moving average with bias correction, so that the average of a constant is that constant.

    Each update steps towards the new value, so rounding cannot move a constant either. The correction is that of Adam
    (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980, section 3). Non-finite values are ignored.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._power = 1.0  # the weight to the power of the number of values
        self.value = math.nan

    def update(self, value: float) -> float:
        """Add a value and return the average so far, which is nan until the first finite value."""
        if math.isfinite(value):
            first = self._power == 1.0
            self._power *= self._weight
            step = (1 - self._weight) / (1 - self._power)
            self.value = value if first else self.value + step * (value - self.value)
        return self.value


def local_regression(xs: Sequence[float], ys: Sequence[float], half_width: float) -> tuple[float, ...]:
    """Smooth without lag, by fitting a line to the points within `half_width` of each x.

    Points are weighted by the tricube of their distance (LOESS: Cleveland 1979, doi:10.1080/01621459.1979.10481038).
    `xs` must not decrease. If the points do not determine a line, their weighted mean is used.
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
    """Average both series over at most `bins` bins with equal numbers of points; the last bin may have fewer."""
    size = -(-len(xs) // bins)
    starts = range(0, len(xs), size)
    return tuple(fmean(xs[i : i + size]) for i in starts), tuple(fmean(ys[i : i + size]) for i in starts)


def noise_level(values: Sequence[float]) -> float:
    """Estimate the standard deviation of the noise on a slowly changing series; 0 for fewer than three values.

    The estimate is based on the mean absolute second difference, to which a straight trend contributes nothing. For
    independent normal noise with standard deviation s, second differences have a standard deviation of sqrt(6) s, and
    the mean absolute value of a normal variable is sqrt(2 / pi) standard deviations. (The median would be more robust,
    but underestimates noise as skewed as an exponential distribution by a fifth.)
    """
    if len(values) < 3:
        return 0.0
    seconds = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:])]
    return sum(seconds) / len(seconds) / math.sqrt(6 * 2 / math.pi)


def robust_noise_level(values: Sequence[float]) -> float:
    """Like `noise_level`, but based on the median of the second differences, so that it tolerates a few outliers.

    Underestimates skewed noise: by a fifth for an exponential distribution.
    """
    if len(values) < 3:
        return 0.0
    return median(abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:])) / (0.6745 * math.sqrt(6))
