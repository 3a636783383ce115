"""Timing sizes in turn, until the order of those that matter is settled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Protocol

from lrscout.results import StepTiming

PRECISE = 0.03  # relative half-width of a median's interval, from which on it is known well enough
LEAST_STEPS = 4  # of a turn, with those that do not count
FEWEST_VALUES = 6  # for an interval of the median that has 95%

Weigh = Callable[[int], float]
"""What a second of a step at a size counts for: the cost of a size is its seconds times this."""


class StepTimer(Protocol):
    """Times training steps."""

    @property
    def overhead(self) -> float:
        """The seconds that a turn takes beside its steps, as far as that is known."""

    def time(self, batch_size: int) -> Sequence[float]:
        """The seconds of some steps at this size, one by one; none if it cannot be timed any more."""


def rotate(
    timer: StepTimer,
    sizes: Sequence[int],
    weigh: Weigh,
    seconds: float,
    known: Mapping[int, Sequence[float]] | None = None,
    clock: Callable[[], float] = perf_counter,
) -> dict[int, tuple[float, ...]]:
    """The seconds of steps at each size, those in `known` first; sizes that the time was not enough for are missing.

    Slow and quick spells of the machine fall on all sizes alike, since they take turns. The most promising go first,
    and a size that is clearly no match for the best is not timed again. A turn that would not end in time is left out.
    """
    deadline = clock() + seconds
    times = {size: list(found) for size, found in (known or {}).items() if found}
    left = set(sizes)  # that can be timed

    def fits(size: int) -> bool:
        expected = timer.overhead + LEAST_STEPS * expected_seconds(times, size)
        return size in left and clock() + expected < deadline

    def timed() -> dict[int, tuple[float, ...]]:
        return {size: tuple(times[size]) for size in sizes if size in times}

    def waiting() -> list[int]:
        new = [size for size in sizes if size not in times and fits(size)]
        return new or [size for size in _unsettled(timed(), weigh) if fits(size)]

    while turns := waiting():
        for size in sorted(turns, key=lambda size: expected_seconds(times, size) * weigh(size)):
            if not fits(size):
                continue
            if found := timer.time(size):
                times.setdefault(size, []).extend(found)
            else:
                left.discard(size)
    return timed()


def samples_at(known: Mapping[int, int], size: int) -> int:
    """The samples in a step of this size, by those of the nearest size in `known`; the size itself if that is empty."""
    near = min(known, key=lambda each: abs(each - size), default=None)
    return size if near is None else max(1, size * known[near] // near)


def expected_seconds(times: Mapping[int, Sequence[float]], size: int) -> float:
    """The median of a size, or what the line through the nearest timed sizes says; 0 if nothing is known."""
    if size in times:
        return median(times[size])
    timed = sorted(times, key=lambda each: abs(math.log(each / size)))
    if not timed:
        return 0.0
    if len(timed) == 1:
        return median(times[timed[0]])
    (x0, y0), (x1, y1) = ((each, median(times[each])) for each in timed[:2])
    return max(0.0, y0 + (size - x0) * (y1 - y0) / (x1 - x0))


def _unsettled(times: Mapping[int, Sequence[float]], weigh: Weigh) -> list[int]:
    """The sizes that may be the best and are not known precisely; none if only one is left."""
    known = timings_of(times, lambda size: size)
    if not known:
        return []
    best = min(each.high * weigh(each.batch_size) for each in known)
    contenders = [each.batch_size for each in known if each.low * weigh(each.batch_size) <= best]
    if len(contenders) == 1:
        return []
    return [size for size in contenders if spread(times[size]) > PRECISE]


def interval(seconds: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of the median; of fewer than six values, from half the least to twice the largest.

    It lies between two order statistics, so no distribution of the values is assumed.
    """
    ordered = sorted(seconds)
    if len(ordered) < FEWEST_VALUES:
        return ordered[0] / 2, ordered[-1] * 2
    reach = 0.98 * math.sqrt(len(ordered))  # 1.96 standard deviations of a binomial with p = 1/2
    low = max(0, math.floor(len(ordered) / 2 - reach))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + reach) - 1)
    return ordered[low], ordered[high]


def spread(seconds: Sequence[float]) -> float:
    """Half the width of the median's interval, relative to the median; inf for fewer than six values."""
    if len(seconds) < FEWEST_VALUES:
        return math.inf
    low, high = interval(seconds)
    middle = median(seconds)
    return (high - low) / 2 / middle if middle > 0 else math.inf


def timings_of(times: Mapping[int, Sequence[float]], samples_of: Callable[[int], int]) -> tuple[StepTiming, ...]:
    """What the steps of the sizes say, in order of size.

    A smaller batch takes no longer than a larger one: if it seems to, the machine was busy, and it gets the larger
    one's time.
    """
    found: list[StepTiming] = []
    for size in sorted(times, reverse=True):
        timing = StepTiming(size, samples_of(size), median(times[size]), *interval(times[size]), len(times[size]))
        if found and found[-1].seconds < timing.seconds:
            timing = replace(timing, seconds=found[-1].seconds, low=found[-1].low, high=found[-1].high)
        found.append(timing)
    return tuple(reversed(found))
