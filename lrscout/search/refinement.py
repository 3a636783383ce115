"""--refine: correct the suggestion of a sweep by three or more short training runs (probes) around it.

The winner among short runs owes as much to noise and to its horizon as to its rate, so probes do not replace the
suggestion. Instead, the loss is interpolated between them, and distance from the suggestion carries a penalty.
docs/suggestion.md lists the alternatives that did worse than no probes at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from lrscout.results import Probe, Use
from lrscout.search.scout import HORIZON

OFFSETS = (-0.5, 0.0, 0.5)  # decades from the suggestion
MIN_STEPS_PER_PROBE = 200  # with 100 or fewer, the suggestion got worse
EDGE_MOVES = 2  # probes beyond the first three, if the best has the lowest or the highest rate
CEILING_SHARE = 0.5  # of the rate of divergence; no probe goes above it

# Penalty at one decade from the suggestion, as a share of the best probe's improvement. Mean and worst regret on 14
# tasks with six seeds; the suggestion alone has 0.0090 0.053 for a constant rate and 0.0141 0.073 for decay:
#   held-out loss, constant: 0.0088 0.051 at 0.1, 0.0077 0.045 at 0.4, 0.0078 0.045 at 0.8
#   held-out loss, decay:    0.0109 0.038 at 0.05, 0.0112 0.041 at 0.1, 0.0124 0.053 at 0.2
#   training loss, both:     0.0106 | 0.0137 at 0.4, 0.0092 | 0.0138 at 0.8
# A run at a constant rate ends wherever its noise leaves it, so it counts for less.
HELD_OUT_PENALTY: dict[Use, float] = {"decay": 0.1, "constant": 0.4}
TRAINING_PENALTY = 0.8
GRID = 0.01  # decades


def probe_rates(center: float, divergence: float) -> tuple[float, ...]:
    """The rates of the first probes, in increasing order; fewer than three near the divergence."""
    ceiling = CEILING_SHARE * divergence
    return tuple(sorted({min(center * 10**offset, ceiling) for offset in OFFSETS}))


def rate_beyond(probes: Sequence[Probe], initial: float, divergence: float) -> float | None:
    """The next rate to try, beyond the edge at which the best probe lies; `probes` are in order of increasing rate.

    None if the best probe is not at an edge, if no probe learned anything, or after EDGE_MOVES further probes.
    """
    learned = [probe for probe in probes if probe.loss is not None and probe.loss < initial]
    if not learned or len(probes) >= len(OFFSETS) + EDGE_MOVES:
        return None
    best = min(learned, key=lambda probe: probe.loss if probe.loss is not None else math.inf)
    further = float(10 ** (OFFSETS[1] - OFFSETS[0]))
    if best is probes[0]:
        return best.lr / further
    if best is probes[-1] and best.lr * further <= CEILING_SHARE * divergence:
        return best.lr * further
    return None


def measured_horizon(steps: int) -> int:
    """The training length that a rate refined by probes of this length is for: theirs, but at least HORIZON."""
    return max(HORIZON, steps)


def refined_rate(center: float, probes: Sequence[Probe], initial: float, penalty: float) -> float:
    """The rate with the lowest penalized loss, between the lowest and the highest probe.

    `initial` is the loss before training; a failed probe counts as having learned nothing. The penalty grows with the
    square of the distance from the suggestion, `center`, and reaches `penalty` at one decade.
    """
    losses = [initial if probe.loss is None else min(probe.loss, initial) for probe in probes]
    improvement = initial - min(losses)
    if improvement <= 0 or len(probes) < 2:
        return center
    places = [math.log10(probe.lr / center) for probe in probes]
    curve = [(place, (loss - min(losses)) / improvement) for place, loss in zip(places, losses)]

    def cost(place: float) -> float:
        return _interpolated(curve, place) + penalty * place * place

    steps = round((places[-1] - places[0]) / GRID)
    candidates = [places[0] + (places[-1] - places[0]) * i / steps for i in range(steps + 1)]
    return center * 10 ** min([0.0, *candidates] if places[0] <= 0 <= places[-1] else candidates, key=cost)


def _interpolated(curve: Sequence[tuple[float, float]], place: float) -> float:
    for (left, low), (right, high) in pairwise(curve):
        if place <= right:
            return low + (high - low) * (place - left) / (right - left)
    return curve[-1][1]
