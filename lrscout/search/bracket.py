"""How a search spends its steps.

A coarse sweep finds the divergence, and a fine one measures the curve below it. If that does not determine the rate,
short training runs do. The sweeps scale with the number of steps; the constants here are for SWEEP_STEPS.
"""

from __future__ import annotations

import math

from lrscout.search.curve import Curve
from lrscout.search.range_test import learning_rates
from lrscout.search.rules import suggest_valley
from lrscout.search.scout import scout_rate

SWEEP_STEPS = 150  # of both sweeps together; see docs/suggestion.md for the cost of fewer
MIN_STEPS_FOR_TWO_SWEEPS = 60  # with fewer, a single sweep covers the whole range
COARSE_RANGE = (1e-7, 1e3)
COARSE_DECADES = 10
COARSE_STEPS_PER_DECADE = 4
FINE_STEPS_PER_DECADE = 30  # scout corrects for other densities
FINE_DECADES = 3.0  # below the divergence; 2.5 cannot make up for an error of the coarse sweep (worst regret 0.46)
MAX_LOSS_LEFT = 0.4  # of the initial loss; a sweep that leaves more cannot show how fast the rest can be learned
MAX_NOISE = 0.25  # of the fall; with more, a few lucky batches determine the lowest loss


def coarse_rates(steps: int) -> tuple[float, ...]:
    """The rates of the coarse sweep, if both sweeps together take `steps`."""
    intervals = round(COARSE_DECADES * COARSE_STEPS_PER_DECADE * steps / SWEEP_STEPS)
    return learning_rates(*COARSE_RANGE, 1 + max(2, intervals))


def fine_rates(coarse: Curve, steps: int) -> tuple[float, ...]:
    """The rates of the fine sweep, which starts below the divergence and takes all the steps that are left.

    Empty if the coarse sweep found no divergence, in which case there is no fine sweep.
    """
    if coarse.too_few or coarse.rate_of_divergence is None or coarse.sweep.stop_reason == "interrupted":
        return ()
    first, per_decade = coarse.rate_of_divergence / 10**FINE_DECADES, FINE_STEPS_PER_DECADE * steps / SWEEP_STEPS
    return tuple(first * 10 ** (i / per_decade) for i in range(steps - coarse.sweep.steps))


def why_probe(curve: Curve) -> str | None:
    """Why the sweep does not determine the rate; None if it does, or if it is too short or incomplete to say."""
    if curve.too_few or curve.sweep.stop_reason == "interrupted":
        return None
    return next(iter([*doubts_of_reading(curve), *doubts_of_reach(curve)]), None)


def doubts_of_reading(curve: Curve) -> list[str]:
    """Why the measurements of a sweep may be chance, which short training runs only partly make up for."""
    doubts = []
    if not curve.falls:
        doubts.append("the fall is hidden in the noise")
    elif curve.noise > MAX_NOISE * curve.fall:
        doubts.append(f"the noise between batches is {curve.noise / curve.fall:.0%} of the fall")
    if curve.rate_of_divergence is None:
        doubts.append("the sweep ended before the loss diverged")
    return doubts


def doubts_of_reach(curve: Curve) -> list[str]:
    """Why a sweep is too short to show how fast this network can learn."""
    if curve.loss_left is None:
        return ["the loss is not positive, so it does not show how much is left to learn"]
    if curve.loss_left > MAX_LOSS_LEFT:
        return [f"the sweep leaves {curve.loss_left:.0%} of the loss and cannot show how fast the rest can be learned"]
    return []


def first_probe(curve: Curve) -> float:
    """The rate to start at: between a rule that is too low when a sweep is not enough, and one that is too high."""
    high, low = scout_rate(curve, "decay"), suggest_valley(curve, "decay").lr
    return high if low is None else math.sqrt(low * high)
