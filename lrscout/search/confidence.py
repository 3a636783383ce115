"""How sure a suggestion of scout's is, and why it is not surer.

On the suite's 22 tasks, `high` meant a regret within 5 % in at least 95 % of cases; docs/suggestion.md has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence

from lrscout.results import Confidence
from lrscout.search.curve import Curve
from lrscout.search.scout import HORIZON

NOISY = 0.25  # of the fall: the batches' noise from which the confidence is medium
FEW_PER_DECADE = 12.0  # steps: with fewer the mean regret doubles
DISAGREEING = 3.0  # seeds that lie further apart than this factor
FAR = 10.0  # times the horizon that the constants were measured for, or that fraction of it


def judge(curves: Sequence[Curve], rates: Sequence[float], horizon: int) -> tuple[Confidence, tuple[str, ...]]:
    """The confidence in a suggestion, and why it is not high.

    `curves` are those of all seeds' sweeps, `rates` what each that answers suggests.
    """
    hidden = [curve for curve in curves if curve.too_few or not curve.falls]
    if hidden:
        which = "the fall is" if len(curves) == 1 else f"in {len(hidden)} of {len(curves)} seeds the fall is"
        return "low", (f"{which} hidden in the noise: only the divergence places this rate",)
    doubts = [doubt for curve in curves[:1] for doubt in _doubts(curve)]
    if max(rates) > DISAGREEING * min(rates):
        doubts.append(f"the seeds disagree by a factor of {max(rates) / min(rates):.2g}")
    if not HORIZON / FAR <= horizon <= HORIZON * FAR:
        doubts.append(f"measured for trainings of {HORIZON} steps, and extrapolated to {horizon}")
    return ("medium" if doubts else "high"), tuple(doubts)


def _doubts(curve: Curve) -> list[str]:
    doubts = []
    if curve.noise > NOISY * curve.fall:
        doubts.append(f"the batches' noise is {curve.noise / curve.fall:.0%} of the fall")
    if curve.rate_of_divergence is None:
        doubts.append("the sweep ended before the loss diverged")
    elif curve.steps_per_decade(curve.rate_of_divergence) < FEW_PER_DECADE:
        doubts.append(f"only {curve.steps_per_decade(curve.rate_of_divergence):.0f} steps in the decade that matters")
    if curve.loss_left is None:
        doubts.append("losses that are not positive do not tell how much is left to learn")
    return doubts
