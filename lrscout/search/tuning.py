"""The peak rate at which each schedule of a comparison is judged: from a grid, and no further than the noise allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from lrscout.results import RateRange
from lrscout.search.comparison import MakeRuns, PlannedRun

GRID_FACTOR = 3.0  # between two rates that are tried
EDGE_MOVES = 2  # times that a grid goes on beyond the edge where its best rate lies
BEYOND_SCORES = 1_000_000  # between the first seed that tunes and the others: more than are ever scored

_Point = tuple[int, int]  # a place on a schedule's grid, in factors above the center, and a seed
_Scores = dict[int, list[float]]  # of a place, seed by seed


@dataclass(frozen=True, slots=True)
class TunedRate:
    """The rate at which a schedule is judged."""

    lr: float
    range: RateRange | None  # None: at no rate did all runs come to their end


@dataclass(frozen=True, slots=True)
class _Found:
    """Where on its grid a schedule's search has ended."""

    chosen: int
    even: Sequence[int]  # the places that the noise does not tell from the best

    def rate(self, center: float) -> TunedRate:
        even = [center * GRID_FACTOR**place for place in self.even]
        return TunedRate(center * GRID_FACTOR**self.chosen, RateRange(min(even), max(even)) if even else None)


def tuning_seeds(seed: int) -> tuple[int, ...]:
    """The seeds that tune, in the order in which they are used; none of them enters a score."""
    return seed, seed + BEYOND_SCORES, seed + BEYOND_SCORES + 1


def tuned_rates(
    schedules: int, center: float, seeds: Sequence[int], better: Callable[[float], float], run: MakeRuns
) -> list[TunedRate]:
    """The peak rate of every schedule, each from a grid of its own; what all of them ask for is made together.

    `better` turns the metric so that smaller is better. A run that failed is worse than any other.
    """
    searches = [_search(seeds) for _ in range(schedules)]
    wanted = {i: next(search) for i, search in enumerate(searches)}
    found: dict[int, _Found] = {}
    while wanted:
        plans = {
            PlannedRun(i, seed, center * GRID_FACTOR**place, "tune"): (place, seed)
            for i, points in wanted.items()
            for place, seed in points
        }
        scores: dict[int, dict[_Point, float]] = {i: {} for i in wanted}
        for plan, done in run(list(plans)).items():
            scores[plan.schedule][plans[plan]] = math.inf if done.final is None else better(done.final)
        wanted = {}
        for i, told in scores.items():
            try:
                wanted[i] = searches[i].send(told)
            except StopIteration as end:
                found[i] = end.value
    return [found[i].rate(center) for i in range(schedules)]


def _search(seeds: Sequence[int]) -> Generator[list[_Point], Mapping[_Point, float], _Found]:
    """Look for the rate of one schedule: asks for scores, smaller being better, and infinite of a run that failed.

    One seed tells which edge of the grid is out, and a second what is noise among the rest; where by it another rate
    than the best would be taken, the other seeds are asked as well. The grid moves on only from an edge that is better
    than what lies before it by more than the noise; where no rate is without a failed run, it moves down.
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
        for count in range(2, len(seeds) + 1):
            even = within_noise((yield from scored(running, count)))
            chosen = min(even, key=abs, default=low)
            if not even or chosen == even[0]:
                break
            running = even  # what is worse beyond the noise is not tried again
        if moves == EDGE_MOVES or low < chosen < high:
            break
        beyond = chosen - 1 if chosen == low else chosen + 1
        low, high = min(low, beyond), max(high, beyond)
        running = [place for place in (chosen, beyond) if scores.get((place, seeds[0]), 0.0) < math.inf]
    return _Found(chosen, even)


def within_noise(scores: Mapping[int, Sequence[float]]) -> list[int]:
    """Those whose scores, seed by seed, lie above the best on average by no more than the standard error; it is first.

    With two seeds that is: all but those that are worse with both. Anything with a failed run is out. The evaluations
    of one run tell nothing of this noise: at the end of a decaying schedule they hardly differ from each other.

    Source: the one-standard-error rule of Breiman et al. (1984), Classification and Regression Trees.
    """
    means = {place: fmean(row) for place, row in scores.items() if max(row) < math.inf}
    ranked = sorted(means, key=lambda place: (means[place], abs(place)))
    return [place for place in ranked if _is_noise([a - b for a, b in zip(scores[place], scores[ranked[0]])])]


def _is_noise(differences: Sequence[float]) -> bool:
    return fmean(differences) <= stdev(differences) / math.sqrt(len(differences))
