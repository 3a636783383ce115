"""Tuning: the peak rate for each schedule of a comparison, from a grid as fine as the noise allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from lrscout.results import ComparedRun, RateRange
from lrscout.search.comparison import PlannedRun

GRID_FACTOR = 3.0  # between neighboring rates
EDGE_MOVES = 2  # how often a grid is extended beyond the edge at which its best rate lies
SEED_GAP = 1_000_000  # between the first tuning seed and the others; leaves room for the scoring seeds

_Point = tuple[int, int]  # a place on the grid, in factors above the center, and a seed
_Scores = dict[int, list[float]]  # by place, then in the order of the seeds


@dataclass(frozen=True, slots=True)
class TunedRate:
    """The rate to score a schedule at."""

    lr: float
    range: RateRange | None  # None: at every rate, some run failed


@dataclass(frozen=True, slots=True)
class _Found:
    """The outcome of the search for a schedule, in places on its grid."""

    chosen: int
    even: Sequence[int]  # the places that the noise does not distinguish from the best

    def rate(self, center: float) -> TunedRate:
        even = [center * GRID_FACTOR**place for place in self.even]
        return TunedRate(center * GRID_FACTOR**self.chosen, RateRange(min(even), max(even)) if even else None)


def tuning_seeds(seed: int) -> tuple[int, ...]:
    """The seeds for tuning, in order of use; none of them is used for scoring."""
    return seed, seed + SEED_GAP, seed + SEED_GAP + 1


class Tuning:
    """The searches for the peak rates of all schedules, each on a grid of its own; none waits for another.

    `better` maps the metric to one where smaller is better. A failed run is worse than any other.
    """

    def __init__(self, schedules: int, center: float, seeds: Sequence[int], better: Callable[[float], float]) -> None:
        self._center, self._better = center, better
        self._searches = [_search(seeds) for _ in range(schedules)]
        self._asked: list[dict[PlannedRun, _Point]] = [{} for _ in range(schedules)]  # by each search, and not ended
        self._scores: list[dict[_Point, float]] = [{} for _ in range(schedules)]  # of what it has asked for
        self.found: dict[int, TunedRate] = {}  # by schedule

    def first(self) -> list[PlannedRun]:
        """The runs that all searches begin with."""
        return [plan for i, search in enumerate(self._searches) for plan in self._plans(i, next(search))]

    def ended(self, plan: PlannedRun, run: ComparedRun) -> list[PlannedRun]:
        """Take in a run; returns those that its search needs next, of which there are none before it has all others."""
        i = plan.schedule
        self._scores[i][self._asked[i].pop(plan)] = math.inf if run.final is None else self._better(run.final)
        if self._asked[i]:
            return []
        try:
            return self._plans(i, self._searches[i].send(self._scores[i]))
        except StopIteration as end:
            self.found[i] = end.value.rate(self._center)
            return []

    def _plans(self, schedule: int, points: Sequence[_Point]) -> list[PlannedRun]:
        rates = [self._center * GRID_FACTOR**place for place, _ in points]
        plans = [PlannedRun(schedule, seed, lr, "tune") for (_, seed), lr in zip(points, rates)]
        self._asked[schedule], self._scores[schedule] = dict(zip(plans, points)), {}
        return plans


def _search(seeds: Sequence[int]) -> Generator[list[_Point], Mapping[_Point, float], _Found]:
    """Search for the rate of one schedule, yielding the scores to obtain (smaller is better, inf means failed).

    The first seed rules out one edge of the grid, and the second one measures the noise among the rest. If the noise
    favors another rate than the best one, the remaining seeds are used as well. A single seed has no noise to measure,
    so the best rate is taken. The grid is extended only beyond an
    edge that is better than its neighbor by more than the noise. If a run failed at every rate, it is extended
    downwards.
    """
    scores: dict[_Point, float] = {}

    def scored(places: Iterable[int], count: int) -> Generator[list[_Point], Mapping[_Point, float], _Scores]:
        rows = {place: [(place, seed) for seed in seeds[:count]] for place in places}
        missing = [point for row in rows.values() for point in row if point not in scores]
        if missing:
            scores.update((yield missing))
        return {place: [scores[point] for point in row] for place, row in rows.items()}

    first = yield from scored((-1, 0, 1), 1)
    middling = median(score for (score,) in first.values())
    running = [place for place, (score,) in first.items() if score < math.inf and (place == 0 or score <= middling)]
    low, high = min(first), max(first)
    for moves in range(EDGE_MOVES + 1):
        for count in range(min(2, len(seeds)), len(seeds) + 1):
            even = within_noise((yield from scored(running, count)))
            chosen = min(even, key=abs, default=low)
            if not even or chosen == even[0]:
                break
            running = even  # drop the rates that are worse by more than the noise
        if moves == EDGE_MOVES or low < chosen < high:
            break
        beyond = chosen - 1 if chosen == low else chosen + 1
        low, high = min(low, beyond), max(high, beyond)
        running = [place for place in (chosen, beyond) if scores.get((place, seeds[0]), 0.0) < math.inf]
    return _Found(chosen, even)


def within_noise(scores: Mapping[int, Sequence[float]]) -> list[int]:
    """The places within one standard error of the best, starting with the best and excluding those with a failed run.

    The error is that of the mean difference from the best, paired by seed: with two seeds, this excludes the places
    that are worse with both. Evaluations of a single run cannot measure this noise, since they hardly differ from each
    other at the end of a decaying schedule.

    Source: the one-standard-error rule of Breiman et al. (1984), Classification and Regression Trees.
    """
    means = {place: fmean(row) for place, row in scores.items() if max(row) < math.inf}
    ranked = sorted(means, key=lambda place: (means[place], abs(place)))
    return [place for place in ranked if _is_noise([a - b for a, b in zip(scores[place], scores[ranked[0]])])]


def _is_noise(differences: Sequence[float]) -> bool:
    error = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    return fmean(differences) <= error
