"""scout, the default rule: where the loss is lowest, where it diverges, and how much of it is left to learn.

log10(rate) = (log10(lowest) + log10(divergence)) / 2 + USES[use]
            + LOSS_LEFT_WEIGHT * left + DENSITY_WEIGHT * log10(density / 30)

The constants were chosen on 14 tasks with eight seeds each, against what 400 steps of training reach; chosen on 13
of them and measured on the one left out, the mean regret is 0.01 and not worse than 0.11 anywhere. docs/suggestion.md
has the evidence, also on eight tasks that no constant was chosen on. Where a sweep cannot know the rate, short
trainings have the word (lrscout.search.probing).
"""

from __future__ import annotations

import math

from lrscout.results import Suggestion, Use
from lrscout.search.curve import Curve

USES: dict[Use, float] = {"decay": -1.2, "constant": -1.6}
"""Decades from the middle between lowest loss and divergence, at 30 steps a decade, to the rate for each use.

A tenth of a decade further down or up costs 0.003 of mean regret."""

# Where a sweep of a hundred steps has learned nearly all, the rest wants a small rate; where most of the loss is left,
# a small rate does not get there in time. Without this term the mean regret is 0.03 and not 0.01.
LOSS_LEFT_WEIGHT = 1.2
UNKNOWN_LOSS_LEFT = 0.5  # for a loss that is not positive

# A slow sweep diverges sooner: the best offsets for a constant rate at 15, 30, 60 and 120 steps a decade are -1.7,
# -1.6, -1.5 and -1.3.
DENSITY_WEIGHT = 0.5
USUAL_DENSITY = 30  # steps: what USES holds for
MAX_DENSITY_RATIO = 5.0  # beyond 5 times that density, or a fifth of it, nothing was measured: the term stays as it is

HORIZON = 400  # steps of training: the length that USES holds for
# Measured: 100 steps want a rate 0.20 (constant) and 0.09 (cosine) decades higher (medians of 22 tasks), 1600 steps one
# 0.33 lower (11 tasks), which are powers of 0.14 to 0.55. In large language models the best rate falls as a power of
# the length too (Bjorck et al. 2025, https://arxiv.org/abs/2409.19913).
HORIZON_POWER = 1 / 3


def horizon_factor(steps: int, power: float = HORIZON_POWER) -> float:
    """What a rate for HORIZON steps is multiplied by for another length of training."""
    return float((HORIZON / steps) ** power)


def suggest_scout(curve: Curve, use: Use) -> Suggestion:
    """Between lowest loss and divergence; by short trainings where these cannot tell."""
    if curve.rate_of_divergence is None and (curve.fall <= 0 or curve.lowest_at_start):
        return Suggestion(None, "scout", "the loss neither falls nor diverges")
    return Suggestion(scout_rate(curve, use), "scout", _reason(curve), use=use)


def scout_rate(curve: Curve, use: Use) -> float:
    """The rate for this use, within the swept range."""
    middle = (math.log10(curve.rate_of_lowest) + math.log10(ceiling(curve))) / 2
    left = UNKNOWN_LOSS_LEFT if curve.loss_left is None else curve.loss_left
    ratio = curve.steps_per_decade(ceiling(curve)) / USUAL_DENSITY
    density = math.log10(min(max(ratio, 1 / MAX_DENSITY_RATIO), MAX_DENSITY_RATIO))
    log = middle + USES[use] + LOSS_LEFT_WEIGHT * left + DENSITY_WEIGHT * density
    return min(max(10**log, curve.rates[0]), ceiling(curve))


def ceiling(curve: Curve) -> float:
    """Where the loss diverges, or the last rate where it does not."""
    return curve.rate_of_divergence or curve.rates[-1]


def _reason(curve: Curve) -> str:
    diverges = curve.rate_of_divergence
    end = (
        f"diverges from {diverges:.2g} on" if diverges is not None else f"does not diverge up to {curve.rates[-1]:.2g}"
    )
    told = f"the loss falls from {curve.initial:.3g} to {curve.lowest:.3g} at {curve.rate_of_lowest:.2g} and {end}"
    return told if curve.loss_left is None else f"{told}; {curve.loss_left:.0%} of it is left to learn"
