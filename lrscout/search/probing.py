"""Short trainings at a few rates, on the same batches: evidence where a sweep cannot know.

A normalised network does not diverge where its rate is far too high: its loss falls to a plateau and stays there, and a
sweep, which meets every rate once, sees the same loss over two decades. Sixty steps at one rate tell these apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, stdev

from lrscout.results import Probe, Probing, Suggestion, TrainingPoint, TrainingResult, Use
from lrscout.search.scout import HORIZON_POWER
from lrscout.search.training import GivesUp

SPACING = 0.25  # decades between two places
WALK = 2  # places from one probe to the next, until the lowest is found
PROBE_STEPS = 60  # of each; docs/suggestion.md has the other lengths
MIN_PROBES = 3  # trainings, below which there is nothing to compare
MIN_PROBING_STEPS = MIN_PROBES * PROBE_STEPS
MAX_PROBING_STEPS = 850  # hardly ever taken
FARTHEST = 24  # places below the start, where every training fails
SMALL = 0.05  # of the initial loss: where no more is learned, trainings are twice as long
LATE = 0.7  # of the best one's improvement: half a decade below it, what is further behind has not begun to learn
MAX_PROBE_STEPS = 2 * PROBE_STEPS  # of each, however little was learned
WINDOW = 20  # last losses, whose mean is what a probe has reached
EARLIEST = 0.5  # of its steps, before which no probe is given up
WORSE = 0.15  # of the best probe's improvement: a probe that is so far behind is given up
SURE = 3.0  # standard errors of the paired differences, where those are more
CUT = 0.5  # of that improvement: how much worse a neighbour is beyond it tells nothing of where the lowest loss lies
BAND = 0.05  # of that improvement: rates that lose no more are usable

FAILED = ("diverged", "non_finite")  # how a training ends that has reached no loss

USE_OFFSETS: dict[Use, float] = {"decay": 0.0, "constant": -0.2}
"""Decades from the rate of lowest loss after PROBE_STEPS steps at a constant rate to the best rate for each use."""

# At 2,000 steps the peak that suits a decaying schedule best is what it was at 400 (mean regret of nine architectures
# 0.015, and 0.030 with scout's third power), and a constant rate is hardly lower. docs/suggestion.md
HORIZON_POWERS: dict[Use, float] = {"decay": 0.0, "constant": 0.1}

Train = Callable[[float, int, GivesUp], TrainingResult]
"""Trains so many steps at a constant rate, from the same state and on the same batches each time, or until given up."""


def probe(
    train: Train, why: str, start: float, initial: float, most: int, keep: Callable[[Probing], None] | None = None
) -> Probing:
    """Train PROBE_STEPS steps at `start`, then walk on by half decades until both neighbours of the best are worse.

    `initial` is the loss before training. Where the first trainings tell chance, all is begun anew with trainings twice
    as long. No training begins that might take the sum of steps beyond `most`, which is
    at least MIN_PROBING_STEPS; where losses arrive late, a training that is given up has taken some more. `keep`
    gets what is known after each of them.
    """
    walk, left = _Walk(start, initial, PROBE_STEPS), most
    while (place := walk.next_place()) is not None and walk.steps <= left:
        if walk.is_too_short and MIN_PROBES * 2 * walk.steps <= left and 2 * walk.steps <= MAX_PROBE_STEPS:
            walk, place = _Walk(start, initial, 2 * walk.steps), 0
        walk.done[place] = train(walk.rate(place), walk.steps, walk.gives_up)
        left -= len(walk.done[place].points)
        if keep is not None and len(walk.done) >= MIN_PROBES:
            keep(walk.found(why))
    return walk.found(why)


def suggest_probed(found: Probing, use: Use) -> Suggestion | None:
    """The rate that short trainings speak for; None where none of them learned anything."""
    if found.best is None or found.low is None or found.high is None:
        return None
    factor = 10 ** USE_OFFSETS[use]
    reached = [(probe.loss, probe.lr) for probe in found.probes if probe.status == "ok" and probe.loss is not None]
    loss, lr = min(reached)
    reason = (
        f"of {len(found.probes)} short trainings, the one at {lr:.2g} reached the lowest loss: {loss:.3g}, "
        f"from {found.initial:.3g} untrained"
    )
    return Suggestion(found.best * factor, "scout", reason, found.low * factor, found.high * factor, use=use)


def horizon_power(found: Probing | None, use: Use) -> float:
    """The power by which a rate for this use falls with the length of training: by short trainings, or by a sweep."""
    return HORIZON_POWER if found is None or found.best is None else HORIZON_POWERS[use]


def all_failed(found: Probing) -> str | None:
    """Why there is no answer where every training failed; None where one did not."""
    if not found.probes or any(probe.loss is not None for probe in found.probes):
        return None
    low, high = found.probes[0].lr, found.probes[-1].lr
    return (
        f"every short training diverged or was not finite, at rates from {high:.2g} down to {low:.2g}. "
        "Look for nan or inf in the data, the loss function and fp16 weights."
    )


class _Walk:
    """The trainings so far, by their place: quarters of a decade from the start."""

    def __init__(self, start: float, initial: float, steps: int) -> None:
        self.done: dict[int, TrainingResult] = {}
        self.steps = steps  # of every training
        self._start, self._initial = start, initial

    @property
    def is_too_short(self) -> bool:
        """Whether trainings of this length tell chance: hardly anything is learned, or the best has only just begun.

        Where a network sits on a plateau at first, a rate that leaves it early is ahead of a better one that leaves it
        a little later; then the next rate below the best has learned next to nothing.
        """
        best = self.best
        if best is None or len(self.done) < MIN_PROBES:
            return False
        little = self._improvement(best) < SMALL * abs(self._initial)
        return little or not self.learned or self._behind(best).get(best - WALK, 0.0) > LATE

    @property
    def learned(self) -> bool:
        """Whether the best has learned more than the batches' noise may feign."""
        best = self.best
        if best is None:
            return False
        last = [point.loss for point in self.done[best].points[-WINDOW:]]
        return self._improvement(best) > SURE * stdev(last) / math.sqrt(len(last))

    def _improvement(self, place: int) -> float:
        """How far a training that came to its end got below the loss before training."""
        return self._initial - self._level(place, self.steps)

    def rate(self, place: float) -> float:
        return float(self._start * 10 ** (place * SPACING))

    @property
    def best(self) -> int | None:
        """The place of the lowest loss; None while no training came to its end."""
        ended = [place for place, run in self.done.items() if run.status == "ok"]
        return min(ended, key=lambda place: self._level(place, self.steps), default=None)

    def next_place(self) -> int | None:
        """Where to train next; None: nowhere.

        Below the best and above it; on down while the lowest rate is hardly worse than the best, since that may lie on
        a plateau above the valley; beyond the rate above where that is hardly worse; at last half-way to either side.
        Below all where every one failed.
        """
        best = self.best
        if best is None:
            below = min(self.done, default=WALK) - WALK
            return below if below >= -FARTHEST else None
        behind = self._behind(best)
        lowest = min(behind)
        wanted = [best - WALK, best + WALK]
        wanted += [lowest - WALK] if behind[lowest] < WORSE else []
        wanted += [best + 2 * WALK] if behind.get(best + WALK, 1.0) < WORSE else []
        wanted += [best - WALK // 2, best + WALK // 2]
        return next((place for place in wanted if place not in self.done), None)

    def gives_up(self, points: Sequence[TrainingPoint]) -> bool:
        """Whether the training under way is clearly worse than the best so far was after as many steps."""
        count = len(points)
        if count < EARLIEST * self.steps:  # asked at every step: the best is looked for only where it matters
            return False
        best = self.best
        if best is None:
            return False
        reference = self.done[best].points[count - WINDOW : count]
        behind = [a.loss - b.loss for a, b in zip(points[-WINDOW:], reference)]
        improvement = self._initial - self._level(best, count)
        return fmean(behind) > max(WORSE * improvement, SURE * stdev(behind) / math.sqrt(WINDOW))

    def found(self, why: str) -> Probing:
        best = self.best
        probes = tuple(self._probe(place) for place in sorted(self.done))
        if best is None or not self.learned:
            return Probing(why, self._start, None, self._initial, probes)
        behind = self._behind(best)
        near = {place: min(share, CUT) for place, share in behind.items()}
        lowest = best + vertex(*(near.get(best + side) for side in (-1, 0, 1)))
        low, high = (self.rate(place) for place in usable(behind, best, lowest))
        return Probing(why, self._start, self.rate(lowest), self._initial, probes, low, high)

    def _behind(self, best: int) -> Mapping[int, float]:
        """How far every place stayed behind the best when it ended, as a share of the best one's improvement."""
        found = {}
        for place, run in sorted(self.done.items()):
            level = self._level(best, len(run.points))
            failed = run.status in FAILED or level >= self._initial
            found[place] = 1.0 if failed else (self._level(place, len(run.points)) - level) / (self._initial - level)
        return {place: min(max(share, 0.0), 1.0) for place, share in found.items()}

    def _level(self, place: int, step: int) -> float:
        """What a training had reached after so many steps."""
        return fmean(point.loss for point in self.done[place].points[max(0, step - WINDOW) : step])

    def _probe(self, place: int) -> Probe:
        run = self.done[place]
        steps = len(run.points)
        return Probe(self.rate(place), run.status, None if run.status in FAILED else self._level(place, steps), steps)


def vertex(below: float | None, at: float | None, above: float | None) -> float:
    """Where a parabola through three losses, one place apart, is lowest, from the middle one; 0 where one is missing.

    The middle one must be the lowest, so that the result lies within half a place.
    """
    if below is None or at is None or above is None or below - 2 * at + above <= 0:
        return 0.0
    return 0.5 * (below - above) / (below - 2 * at + above)


def usable(behind: Mapping[int, float], best: int, lowest: float) -> tuple[float, float]:
    """The first and the last place, around the lowest, that loses no more than BAND; interpolated, and never beyond
    what was tried."""
    places = sorted(behind)
    at = places.index(best)
    return min(_reach(behind, places[at::-1]), lowest), max(_reach(behind, places[at:]), lowest)


def _reach(behind: Mapping[int, float], places: Sequence[int]) -> float:
    for near, far in pairwise(places):
        if behind[far] > BAND:
            return near + (far - near) * (BAND - behind[near]) / (behind[far] - behind[near])
    return places[-1]
