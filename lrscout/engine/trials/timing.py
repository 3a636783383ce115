"""Timing steps, no more precisely than is worth waiting for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter

MIN_TIMED_STEPS = 2
MAX_TIMED_STEPS = 30
MAX_TIMING_SECONDS = 2.0  # slow steps are not timed for longer, however much they vary
STEADY_SPREAD = 0.03  # relative half-width of the median's interval, below which timing ends


def time_steps(step: Callable[[], None]) -> list[float]:
    """Time steps until their median is steady or a limit is reached; return the seconds of each."""
    seconds: list[float] = []
    started = perf_counter()
    while len(seconds) < MIN_TIMED_STEPS or not (
        len(seconds) >= MAX_TIMED_STEPS
        or perf_counter() - started > MAX_TIMING_SECONDS
        or median_spread(seconds) < STEADY_SPREAD
    ):
        before = perf_counter()
        step()
        seconds.append(perf_counter() - before)
    return seconds


def median_spread(values: Sequence[float]) -> float:
    """Half the width of the median's 95% interval, relative to the median; inf for fewer than six values.

    The interval lies between two order statistics, so no distribution of the values is assumed.
    """
    if len(values) < 6:
        return math.inf
    ordered = sorted(values)
    reach = 0.98 * math.sqrt(len(ordered))  # 1.96 standard deviations of a binomial with p = 1/2
    low = max(0, math.floor(len(ordered) / 2 - reach))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + reach) - 1)
    middle = median(ordered)
    return (ordered[high] - ordered[low]) / 2 / middle if middle > 0 else math.inf
