"""Scout, the default rule: it uses where the loss is lowest, where it diverges, and how much of it is left to learn.

log10(rate) = (log10(lowest) + log10(divergence)) / 2 + USES[use]
            + LOSS_LEFT_WEIGHT * left + DENSITY_WEIGHT * log10(density / 30)

The constants were fitted to what 400 steps of training reach on 14 tasks with eight seeds each. Fitted to 13 tasks and
tested on the one left out, the mean regret is 0.01 and never exceeds 0.11. docs/suggestion.md has the evidence,
including eight tasks that were not used for fitting. If a sweep cannot determine the rate, short training runs decide
(lrscout.search.probing).
"""

from __future__ import annotations

import math

from lrscout.formatting import format_loss, format_lr
from lrscout.results import Suggestion, Use
from lrscout.search.curve import Curve

USES: dict[Use, float] = {"decay": -1.2, "constant": -1.6}
"""For each use, the decades from the midpoint of lowest loss and divergence to the rate, at 30 steps per decade.

Shifting them by a tenth of a decade either way costs 0.003 of mean regret."""

# If a sweep of a hundred steps has learned nearly everything, a small rate suits the rest. If most of the loss is left,
# a small rate is too slow. Without this term, the mean regret is 0.03 instead of 0.01.
LOSS_LEFT_WEIGHT = 1.2
UNKNOWN_LOSS_LEFT = 0.5  # assumed for a loss that is not positive

# A slow sweep diverges at a lower rate. For a constant rate, the best offsets at 15, 30, 60 and 120 steps per decade
# are -1.7, -1.6, -1.5 and -1.3.
DENSITY_WEIGHT = 0.5
USUAL_DENSITY = 30  # steps per decade that USES is valid for
MAX_DENSITY_RATIO = 5.0  # beyond 5 times that density, or below a fifth of it, nothing was measured

HORIZON = 400  # steps of training that USES is valid for
# In our measurements, 100 steps need a rate 0.20 (constant) or 0.09 (cosine) decades higher (medians of 22 tasks), and
# 1600 steps one 0.33 decades lower (11 tasks): powers of 0.14 to 0.55. In large language models, too, the best rate
# falls as a power of the length (Bjorck et al. 2025, https://arxiv.org/abs/2409.19913).
HORIZON_POWER = 1 / 3


def horizon_factor(steps: int, power: float = HORIZON_POWER) -> float:
    """The factor that turns a rate for HORIZON steps of training into a rate for `steps`."""
    return float((HORIZON / steps) ** power)


def suggest_scout(curve: Curve, use: Use) -> Suggestion:
    """A rate between lowest loss and divergence, or the best of short training runs."""
    if curve.rate_of_divergence is None and (curve.fall <= 0 or curve.lowest_at_start):
        return Suggestion(None, "scout", "the loss neither falls nor diverges")
    return Suggestion(scout_rate(curve, use), "scout", _reason(curve), use=use)


def scout_rate(curve: Curve, use: Use) -> float:
    """The rate for this use, limited to the swept range."""
    middle = (math.log10(curve.rate_of_lowest) + math.log10(ceiling(curve))) / 2
    left = UNKNOWN_LOSS_LEFT if curve.loss_left is None else curve.loss_left
    ratio = curve.steps_per_decade(ceiling(curve)) / USUAL_DENSITY
    density = math.log10(min(max(ratio, 1 / MAX_DENSITY_RATIO), MAX_DENSITY_RATIO))
    log = middle + USES[use] + LOSS_LEFT_WEIGHT * left + DENSITY_WEIGHT * density
    return min(max(10**log, curve.rates[0]), ceiling(curve))


def ceiling(curve: Curve) -> float:
    """The rate of divergence, or the last rate of the sweep if the loss does not diverge."""
    return curve.rate_of_divergence or curve.rates[-1]


def _reason(curve: Curve) -> str:
    diverges = curve.rate_of_divergence
    end = (
        f"does not diverge up to {format_lr(curve.rates[-1])}"
        if diverges is None
        else f"diverges above {format_lr(diverges)}"
    )
    initial, lowest = format_loss(curve.initial), format_loss(curve.lowest)
    reason = f"the loss falls from {initial} to {lowest} at {format_lr(curve.rate_of_lowest)} and {end}"
    return reason if curve.loss_left is None else f"{reason}; {curve.loss_left:.0%} of it is left to learn"
