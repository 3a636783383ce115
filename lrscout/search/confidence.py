"""How sure a suggestion of scout's is, and why it is not surer.

Over all suites, `high` meant a regret within 5 % in at least 95 % of cases; docs/suggestion.md has the figures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from lrscout.results import Confidence, Probing
from lrscout.search.bracket import doubts_of_reach, doubts_of_reading
from lrscout.search.curve import Curve
from lrscout.search.probing import BAND
from lrscout.search.scout import HORIZON

FEW_PER_DECADE = 12.0  # steps: with fewer the mean regret doubles
NARROW = 0.25  # decades: where the usable rates lie closer together, a small error of the suggestion costs much
DISAGREEING = 3.0  # seeds that lie further apart than this factor
FAR = 10.0  # times the horizon that the constants were measured for, or that fraction of it

MANY_EPOCHS = 100  # passes over the data


def judge(
    curves: Sequence[Curve], rates: Sequence[float], horizon: int, epochs: float | None = None
) -> tuple[Confidence, tuple[str, ...]]:
    """The confidence in a suggestion, and why it is not high.

    `curves` are those of all seeds, `rates` what each that answers suggests; `epochs` is the horizon in passes over the
    data, None where nobody knows or asked.
    """
    unsure = Counter(doubt for curve in curves if (doubt := _grave_doubt(curve)) is not None)
    if unsure:
        told = (f"in {count} of {len(curves)} seeds {doubt}" for doubt, count in unsure.items())
        return "low", tuple(unsure if len(curves) == 1 else told)
    first, probing = curves[0], curves[0].sweep.probing
    doubts = [] if first.too_few else doubts_of_reading(first)
    doubts += _doubts_of_sweep(first) if probing is None else _doubts_of_probes(probing)
    if max(rates) > DISAGREEING * min(rates):
        doubts.append(f"the seeds disagree by a factor of {max(rates) / min(rates):.2g}")
    if not HORIZON / FAR <= horizon <= HORIZON * FAR:
        doubts.append(f"measured for trainings of {HORIZON} steps, and extrapolated to {horizon}")
    if epochs is not None and epochs > MANY_EPOCHS:
        doubts.append(
            f"{epochs:.0f} epochs may overfit, and then no rate that learns is right: watch the held-out loss"
        )
    return ("medium" if doubts else "high"), tuple(doubts)


def _grave_doubt(curve: Curve) -> str | None:
    probing = curve.sweep.probing
    if probing is not None and probing.best is None:
        return "no short training lowered the loss by more than the batches' noise"
    if probing is None and (curve.too_few or not curve.falls):
        return "the fall is hidden in the noise: only the divergence places this rate"
    return None


def _doubts_of_sweep(curve: Curve) -> list[str]:
    """Where the sweep alone places the rate."""
    doubts, diverges = doubts_of_reach(curve), curve.rate_of_divergence
    if diverges is not None and curve.steps_per_decade(diverges) < FEW_PER_DECADE:
        doubts.append(f"only {curve.steps_per_decade(diverges):.0f} steps in the decade that matters")
    return doubts


def _doubts_of_probes(found: Probing) -> list[str]:
    if found.best is None or found.low is None or found.high is None:
        return []  # a grave doubt already
    rates = [probe.lr for probe in found.probes]
    if not min(rates) < found.best < max(rates):
        return ["the loss is lowest at the edge of what was tried"]
    if math.log10(found.high / found.low) < NARROW:
        return [f"only rates within a factor of {found.high / found.low:.2g} of each other come within {BAND:.0%}"]
    return []
