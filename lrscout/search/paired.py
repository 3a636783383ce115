"""Is a difference between a few runs real: Student's t, intervals, and Holm's correction for several questions.

A t interval and not a bootstrap: at 3 seeds a percentile bootstrap of 95 % covers 71 %, the t interval what it says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, variance

LEVEL = 0.95  # of every interval
SIGNIFICANT = 0.05  # the adjusted p below which a difference is real
ROUNDING = 1e-6  # of the values: a difference below it is how fp32 sums were rounded, and no finding
TINY = 1e-300  # in place of a zero denominator of a continued fraction


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval and the p value of its being 0."""

    mean: float
    half_width: float | None  # None: fewer than two values tell no spread
    p: float | None
    n: int


def mean_of(values: Sequence[float]) -> Estimate:
    """The mean of independent values, with the t interval.

    Source: Student (1908), doi:10.1093/biomet/6.1.1.
    """
    spread = variance(values) if len(values) > 1 else 0.0
    return _estimate(fmean(values), spread / len(values), len(values) - 1.0, len(values))


def difference_of(ours: Mapping[int, float], theirs: Mapping[int, float], paired: bool) -> Estimate | None:
    """The mean difference ours - theirs, over the seeds that both have where they are paired.

    Unpaired it is Welch's (1947, doi:10.1093/biomet/34.1-2.28), whose variances may differ. None without any data.
    """
    if paired:
        seeds = sorted(ours.keys() & theirs.keys())
        if not seeds:
            return None
        largest = max(abs(values[seed]) for values in (ours, theirs) for seed in seeds)
        return _beyond_rounding(mean_of([ours[seed] - theirs[seed] for seed in seeds]), largest)
    if not ours or not theirs:
        return None
    samples = [list(ours.values()), list(theirs.values())]
    squares = [variance(sample) / len(sample) if len(sample) > 1 else 0.0 for sample in samples]
    below = sum(square**2 / max(len(sample) - 1, 1) for square, sample in zip(squares, samples))
    freedom = sum(squares) ** 2 / below if below > 0 else sum(map(len, samples)) - 2.0
    n = min(map(len, samples))
    estimate = _estimate(fmean(samples[0]) - fmean(samples[1]), sum(squares), freedom if n > 1 else 0.0, n)
    return _beyond_rounding(estimate, max(map(abs, samples[0] + samples[1])))


def _estimate(mean: float, squared_error: float, freedom: float, n: int) -> Estimate:
    if freedom <= 0:
        return Estimate(mean, None, None, n)
    error = math.sqrt(squared_error)
    if error == 0:
        return Estimate(mean, 0.0, 1.0 if mean == 0 else 0.0, n)
    return Estimate(mean, t_quantile((1 + LEVEL) / 2, freedom) * error, two_sided_p(mean / error, freedom), n)


def _beyond_rounding(found: Estimate, largest: float) -> Estimate:
    if found.p is None or abs(found.mean) > ROUNDING * largest:
        return found
    return Estimate(found.mean, found.half_width, 1.0, found.n)


def holm(ps: Sequence[float]) -> tuple[float, ...]:
    """Adjust p values so that all of them below a level together err no more often than one alone would.

    Source: Holm (1979), https://www.jstor.org/stable/4615733.
    """
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return tuple(adjusted)


def two_sided_p(t: float, freedom: float) -> float:
    """The probability that Student's t lies as far from 0 as this."""
    if t * t < freedom:  # the share near 1 would be rounded to it
        return 1 - incomplete_beta(0.5, freedom / 2, t * t / (freedom + t * t))
    return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


@cache
def t_quantile(share: float, freedom: float) -> float:
    """The value below which this share (above one half) of Student's t lies."""
    tail = 2 * (1 - share)
    low, high = 0.0, 1.0
    while two_sided_p(high, freedom) > tail:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if two_sided_p(middle, freedom) > tail else (low, middle)
    return (low + high) / 2


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function, for x from 0 to 1.

    By its continued fraction (DLMF 8.17.22), evaluated as Lentz (1976) does.
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # there the fraction of the other tail converges fast
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or TINY)
    value = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + term * d or TINY)
            c = 1 + term / c or TINY
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * value
