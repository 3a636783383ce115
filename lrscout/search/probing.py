"""Short training runs (probes) at a few rates, on the same batches, for when a sweep does not determine the rate.

A normalized network does not diverge even if its rate is far too high: its loss falls to a plateau and stays there. A
sweep, which uses each rate only once, then sees the same loss over two decades. Sixty steps at a fixed rate reveal the
difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, stdev

from lrscout.formatting import format_loss, format_lr
from lrscout.results import Probe, Probing, Suggestion, TrainingPoint, TrainingResult, Use
from lrscout.search.scout import HORIZON_POWER
from lrscout.search.training import GivesUp

SPACING = 0.25  # decades between neighboring places
WALK = 2  # places from one probe to the next, until the lowest loss is found
PROBE_STEPS = 60  # per probe; docs/suggestion.md compares other lengths
MIN_PROBES = 3  # with fewer, there is too little to compare
MIN_PROBING_STEPS = MIN_PROBES * PROBE_STEPS
MAX_PROBING_STEPS = 850  # rarely reached
MAX_WALK_DOWN = 24  # places below the start, if every probe fails
MIN_IMPROVEMENT = 0.05  # of the initial loss; if nothing improves on it by more, probes become twice as long
LATE_START = 0.7  # of the best improvement; if the rate half a decade below falls short by more, it has barely started
MAX_PROBE_STEPS = 2 * PROBE_STEPS  # per probe, however little was learned
WINDOW = 20  # the mean of this many last losses is what a probe has reached
GIVE_UP_AFTER = 0.5  # of a probe's steps; no probe is given up earlier
CLEARLY_WORSE = 0.15  # of the best improvement; a probe that falls short by more is given up
SURE = 3.0  # standard errors of the paired differences, which apply if they exceed that share
MAX_SHORTFALL = 0.5  # of the best improvement; larger shortfalls do not help to locate the lowest loss
BAND = 0.05  # of the best improvement; rates that fall short by less are usable

FAILED = ("diverged", "non_finite")  # the status of a probe that has reached no loss

USE_OFFSETS: dict[Use, float] = {"decay": 0.0, "constant": -0.2}
"""For each use, the decades from the rate of lowest loss among the probes to the rate for HORIZON steps."""

# The best peak of a decaying schedule is the same at 2,000 steps as at 400 (the mean regret on nine architectures is
# 0.015, but 0.030 with scout's power of a third), and the best constant rate is hardly lower; see docs/suggestion.md.
HORIZON_POWERS: dict[Use, float] = {"decay": 0.0, "constant": 0.1}

Train = Callable[[float, int, GivesUp], TrainingResult]
"""Trains at a rate for some steps, unless it is given up, always from the same state and on the same batches."""


def probe(
    train: Train, why: str, start: float, initial: float, max_steps: int, keep: Callable[[Probing], None] | None = None
) -> Probing:
    """Train PROBE_STEPS steps at `start`, then walk on by half decades until both neighbors of the best are worse.

    `initial` is the loss before training. If the first probes are too short to trust, the walk starts over with probes
    twice as long. No probe is started that could exceed `max_steps` in total; if losses arrive late, though, a probe
    that is given up takes a few more. `keep` is called with the findings after each probe from the third on.
    """
    walk, left = _Walk(start, initial, PROBE_STEPS), max_steps
    while (place := walk.next_place()) is not None and walk.steps <= left:
        if walk.is_too_short and MIN_PROBES * 2 * walk.steps <= left and 2 * walk.steps <= MAX_PROBE_STEPS:
            walk, place = _Walk(start, initial, 2 * walk.steps), 0
        walk.done[place] = train(walk.rate(place), walk.steps, walk.gives_up)
        left -= len(walk.done[place].points)
        if keep is not None and len(walk.done) >= MIN_PROBES:
            keep(walk.found(why))
    return walk.found(why)


def suggest_probed(found: Probing, use: Use) -> Suggestion | None:
    """The rate that the probes suggest; None if none of them learned anything."""
    if found.best is None or found.low is None or found.high is None:
        return None
    factor = 10 ** USE_OFFSETS[use]
    reached = [(probe.loss, probe.lr) for probe in found.probes if probe.status == "ok" and probe.loss is not None]
    loss, lr = min(reached)
    reason = (
        f"of {len(found.probes)} short training runs, the one at {format_lr(lr)} reached the lowest loss: "
        f"{format_loss(loss)}, from {format_loss(found.initial)} before training"
    )
    return Suggestion(found.best * factor, "scout", reason, found.low * factor, found.high * factor, use=use)


def horizon_power(found: Probing | None, use: Use) -> float:
    """The power at which a rate for this use, found by probes or by a sweep alone, falls with the training length."""
    return HORIZON_POWER if found is None or found.best is None else HORIZON_POWERS[use]


def all_failed(found: Probing) -> str | None:
    """Why there is no answer if every probe failed; None if one did not."""
    if not found.probes or any(probe.loss is not None for probe in found.probes):
        return None
    low, high = found.probes[0].lr, found.probes[-1].lr
    return (
        f"every short training run diverged or became non-finite, at rates from {format_lr(high)} down to "
        f"{format_lr(low)}. "
        "Look for nan or inf in the data, the loss function and fp16 weights."
    )


class _Walk:
    """The probes so far, by place: the number of quarter decades from the starting rate."""

    def __init__(self, start: float, initial: float, steps: int) -> None:
        self.done: dict[int, TrainingResult] = {}
        self.steps = steps  # per probe
        self._start, self._initial = start, initial

    @property
    def is_too_short(self) -> bool:
        """Whether probes of this length are too short to trust, since the best learned little or has just started.

        If a network starts out on a plateau, a rate that leaves it early is ahead of a better one that leaves it a
        little later. In that case, the next rate below the best has learned next to nothing.
        """
        best = self.best
        if best is None or len(self.done) < MIN_PROBES:
            return False
        little = self._improvement(best) < MIN_IMPROVEMENT * abs(self._initial)
        return little or not self.learned or self._shortfall(best).get(best - WALK, 0.0) > LATE_START

    @property
    def learned(self) -> bool:
        """Whether the best probe has learned more than the noise between batches can explain."""
        best = self.best
        if best is None:
            return False
        last = [point.loss for point in self.done[best].points[-WINDOW:]]
        return self._improvement(best) > SURE * stdev(last) / math.sqrt(len(last))

    def _improvement(self, place: int) -> float:
        """How far a completed probe got below the initial loss."""
        return self._initial - self._level(place, self.steps)

    def rate(self, place: float) -> float:
        return float(self._start * 10 ** (place * SPACING))

    @property
    def best(self) -> int | None:
        """The place of the completed probe with the lowest loss; None if there is none."""
        ended = [place for place, run in self.done.items() if run.status == "ok"]
        return min(ended, key=lambda place: self._level(place, self.steps), default=None)

    def next_place(self) -> int | None:
        """The next place to probe, or None if the walk is over.

        In order of preference: the neighbors of the best; further down, if the lowest rate is hardly worse than the
        best, which may then lie on a plateau above the valley; further up, if the rate above is hardly worse; finally,
        halfway to either neighbor. If every probe failed, below all of them.
        """
        best = self.best
        if best is None:
            below = min(self.done, default=WALK) - WALK
            return below if below >= -MAX_WALK_DOWN else None
        shortfall = self._shortfall(best)
        lowest = min(shortfall)
        wanted = [best - WALK, best + WALK]
        wanted += [lowest - WALK] if shortfall[lowest] < CLEARLY_WORSE else []
        wanted += [best + 2 * WALK] if shortfall.get(best + WALK, 1.0) < CLEARLY_WORSE else []
        wanted += [best - WALK // 2, best + WALK // 2]
        return next((place for place in wanted if place not in self.done), None)

    def gives_up(self, points: Sequence[TrainingPoint]) -> bool:
        """Whether the current probe is clearly worse than the best one was after as many steps."""
        count = len(points)
        if count < GIVE_UP_AFTER * self.steps:  # this runs at every step, so look for the best only when needed
            return False
        best = self.best
        if best is None:
            return False
        reference = self.done[best].points[count - WINDOW : count]
        behind = [a.loss - b.loss for a, b in zip(points[-WINDOW:], reference)]
        improvement = self._initial - self._level(best, count)
        return fmean(behind) > max(CLEARLY_WORSE * improvement, SURE * stdev(behind) / math.sqrt(WINDOW))

    def found(self, why: str) -> Probing:
        best = self.best
        probes = tuple(self._probe(place) for place in sorted(self.done))
        if best is None or not self.learned:
            return Probing(why, self._start, None, self._initial, probes)
        shortfall = self._shortfall(best)
        near = {place: min(share, MAX_SHORTFALL) for place, share in shortfall.items()}
        lowest = best + vertex(*(near.get(best + side) for side in (-1, 0, 1)))
        low, high = (self.rate(place) for place in usable(shortfall, best, lowest))
        return Probing(why, self._start, self.rate(lowest), self._initial, probes, low, high)

    def _shortfall(self, best: int) -> Mapping[int, float]:
        """How far every probe fell short of the best one after as many steps, as a share of its improvement."""
        found = {}
        for place, run in sorted(self.done.items()):
            level = self._level(best, len(run.points))
            failed = run.status in FAILED or level >= self._initial
            found[place] = 1.0 if failed else (self._level(place, len(run.points)) - level) / (self._initial - level)
        return {place: min(max(share, 0.0), 1.0) for place, share in found.items()}

    def _level(self, place: int, step: int) -> float:
        """The loss that a probe had reached after this many steps."""
        return fmean(point.loss for point in self.done[place].points[max(0, step - WINDOW) : step])

    def _probe(self, place: int) -> Probe:
        run = self.done[place]
        steps = len(run.points)
        return Probe(self.rate(place), run.status, None if run.status in FAILED else self._level(place, steps), steps)


def vertex(below: float | None, at: float | None, above: float | None) -> float:
    """The offset from the middle of three adjacent places to the vertex of a parabola through their losses.

    The middle loss must be the lowest, so the result lies within half a place. 0 if a loss is missing.
    """
    if below is None or at is None or above is None or below - 2 * at + above <= 0:
        return 0.0
    return 0.5 * (below - above) / (below - 2 * at + above)


def usable(shortfall: Mapping[int, float], best: int, lowest: float) -> tuple[float, float]:
    """The first and last place around the lowest loss that fall short by no more than BAND.

    Both are interpolated, but never extrapolated.
    """
    places = sorted(shortfall)
    at = places.index(best)
    return min(_reach(shortfall, places[at::-1]), lowest), max(_reach(shortfall, places[at:]), lowest)


def _reach(shortfall: Mapping[int, float], places: Sequence[int]) -> float:
    for near, far in pairwise(places):
        if shortfall[far] > BAND:
            return near + (far - near) * (BAND - shortfall[near]) / (shortfall[far] - shortfall[near])
    return places[-1]
