"""The peak rate at which each schedule of a comparison is judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from lrscout.search.comparison import MakeRuns, PlannedRun

GRID_FACTOR = 3.0  # between two rates that are tried
EDGE_MOVES = 2  # times that a grid goes on beyond the edge where its best rate lies


def tuned_rates(
    schedules: int, center: float, seed: int, better: Callable[[float], float], run: MakeRuns
) -> list[float]:
    """The best peak rate of every schedule on a grid of its own, which moves on where the best is at its edge.

    `better` turns the metric so that smaller is better. A run that failed is worse than any other; where all did,
    the grid moves down.
    """
    grids = [[center / GRID_FACTOR, center, center * GRID_FACTOR] for _ in range(schedules)]
    scores: list[dict[float, float]] = [{} for _ in grids]
    for moves in range(EDGE_MOVES + 1):
        wave = [PlannedRun(i, seed, lr, "tune") for i, grid in enumerate(grids) for lr in grid if lr not in scores[i]]
        for plan, done in run(wave).items() if wave else ():
            scores[plan.schedule][plan.peak_lr] = math.inf if done.final is None else better(done.final)
        best = [_best(found, center) for found in scores]
        if moves < EDGE_MOVES:
            grids = [_moved_on(grid, lr) for grid, lr in zip(grids, best)]
    return best


def _best(scores: Mapping[float, float], center: float) -> float:
    """The rate with the smallest score: of equals the one nearest to the center, and of failures the smallest."""
    if min(scores.values()) == math.inf:
        return min(scores)
    return min(scores, key=lambda lr: (scores[lr], abs(math.log(lr / center))))


def _moved_on(grid: Sequence[float], best: float) -> list[float]:
    before = [best / GRID_FACTOR] if best == grid[0] else []
    after = [best * GRID_FACTOR] if best == grid[-1] else []
    return [*before, *grid, *after]
