"""Where a search spends its steps: a coarse sweep finds the divergence, a fine one reads the curve below it, and where
that cannot know the rate, short trainings do.

The sweeps scale with the steps allowed; the figures here are for SWEEP_STEPS of them.
"""

from __future__ import annotations

import math

from lrscout.search.curve import Curve
from lrscout.search.range_test import learning_rates
from lrscout.search.rules import suggest_valley
from lrscout.search.scout import scout_rate

SWEEP_STEPS = 150  # of both sweeps; what fewer cost stands in docs/suggestion.md
MIN_STEPS_FOR_TWO_SWEEPS = 60  # with fewer, one sweep of the whole range
COARSE_RANGE = (1e-7, 1e3)
COARSE_DECADES = 10
COARSE_PER_DECADE = 4  # steps
FINE_PER_DECADE = 30  # steps; scout corrects for another density
FINE_DECADES = 3.0  # below the divergence; with 2.5 a coarse sweep's mistake is not made good (worst regret 0.46)
MAX_LOSS_LEFT = 0.4  # of the initial loss: a sweep that leaves more cannot show how fast the rest can be learned
NOISY = 0.25  # of the fall: the batches' noise from which a few lucky ones place the lowest loss


def coarse_rates(steps: int) -> tuple[float, ...]:
    """The rates of the coarse sweep, where `steps` may be taken in all."""
    return learning_rates(*COARSE_RANGE, 1 + max(2, round(COARSE_DECADES * COARSE_PER_DECADE * steps / SWEEP_STEPS)))


def fine_rates(coarse: Curve, steps: int) -> tuple[float, ...]:
    """The rates of the fine sweep: from below the divergence upwards for as many steps as are left.

    Empty where the coarse sweep found no divergence: it is then all there is to judge.
    """
    if coarse.too_few or coarse.rate_of_divergence is None or coarse.sweep.stop_reason == "interrupted":
        return ()
    first, per_decade = coarse.rate_of_divergence / 10**FINE_DECADES, FINE_PER_DECADE * steps / SWEEP_STEPS
    return tuple(first * 10 ** (i / per_decade) for i in range(steps - coarse.sweep.steps))


def why_probe(curve: Curve) -> str | None:
    """Why the sweep cannot know the rate; None where it does, or where it measured too little to ask."""
    if curve.too_few or curve.sweep.stop_reason == "interrupted":
        return None
    return next(iter([*doubts_of_reading(curve), *doubts_of_reach(curve)]), None)


def doubts_of_reading(curve: Curve) -> list[str]:
    """Why what a sweep measured may be chance, which short trainings do not dispel altogether."""
    doubts = []
    if not curve.falls:
        doubts.append("the fall is hidden in the noise")
    elif curve.noise > NOISY * curve.fall:
        doubts.append(f"the batches' noise is {curve.noise / curve.fall:.0%} of the fall")
    if curve.rate_of_divergence is None:
        doubts.append("the sweep ended before the loss diverged")
    return doubts


def doubts_of_reach(curve: Curve) -> list[str]:
    """Why a sweep is too short to see how fast this network can learn."""
    if curve.loss_left is None:
        return ["losses that are not positive do not tell how much is left to learn"]
    if curve.loss_left > MAX_LOSS_LEFT:
        return [f"a sweep leaves {curve.loss_left:.0%} of the loss, and cannot see how fast that can be learned"]
    return []


def first_probe(curve: Curve) -> float:
    """Where to begin: between the rule that is too low where a sweep cannot know, and the one that is too high."""
    high, low = scout_rate(curve, "decay"), suggest_valley(curve, "decay").lr
    return high if low is None else math.sqrt(low * high)
