"""Where a search spends its steps: a coarse sweep finds the divergence, a fine one reads the curve below it.

Everything scales with the steps allowed; the figures here are for STEPS of them.
"""

from __future__ import annotations

from lrscout.results import SweepResult
from lrscout.search.curve import curve_of
from lrscout.search.range_test import learning_rates

STEPS = 150  # in all; what fewer cost stands in docs/suggestion.md
LEAST_STEPS = 60  # with fewer, one sweep of the whole range
COARSE_RANGE = (1e-7, 1e3)
COARSE_DECADES = 10
COARSE_PER_DECADE = 4  # steps
FINE_PER_DECADE = 30  # steps; scout corrects for another density
FINE_DECADES = 3.0  # below the divergence; with 2.5 a coarse sweep's mistake is not made good (worst regret 0.46)


def coarse_rates(steps: int) -> tuple[float, ...]:
    """The rates of the coarse sweep, where `steps` may be taken in all."""
    return learning_rates(*COARSE_RANGE, 1 + max(2, round(COARSE_DECADES * COARSE_PER_DECADE * steps / STEPS)))


def fine_rates(coarse: SweepResult, steps: int) -> tuple[float, ...]:
    """The rates of the fine sweep: from below the divergence upwards for as many steps as are left.

    Empty where the coarse sweep found no divergence: it is then all there is to judge.
    """
    curve = curve_of(coarse.points)
    if curve.too_few or curve.rate_of_divergence is None or coarse.stop_reason == "interrupted":
        return ()
    first, per_decade = curve.rate_of_divergence / 10**FINE_DECADES, FINE_PER_DECADE * steps / STEPS
    return tuple(first * 10 ** (i / per_decade) for i in range(steps - coarse.steps))
