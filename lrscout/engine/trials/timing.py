"""How long a step takes, to within what is worth waiting for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter

LEAST_STEPS, MOST_STEPS = 2, 30
PATIENCE = 2.0  # seconds of timing that are enough for slow steps, however unsteady
STEADY = 0.03  # of the median: its interval's half width at which the timing ends


def time_steps(step: Callable[[], None]) -> list[float]:
    """Seconds of each step, until their median is steady or there were enough."""
    seconds: list[float] = []
    started = perf_counter()
    while len(seconds) < LEAST_STEPS or not (
        len(seconds) >= MOST_STEPS or perf_counter() - started > PATIENCE or median_spread(seconds) < STEADY
    ):
        before = perf_counter()
        step()
        seconds.append(perf_counter() - before)
    return seconds


def median_spread(values: Sequence[float]) -> float:
    """Half the width of the median's 95 % interval, as a share of it; inf for fewer than six values.

    The interval lies between two order statistics, so nothing is assumed of how the values are spread.
    """
    if len(values) < 6:
        return math.inf
    ordered = sorted(values)
    reach = 0.98 * math.sqrt(len(ordered))  # 1.96 deviations of a binomial with p = 1/2
    low = max(0, math.floor(len(ordered) / 2 - reach))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + reach) - 1)
    middle = median(ordered)
    return (ordered[high] - ordered[low]) / 2 / middle if middle > 0 else math.inf
