"""How far to trust a suggestion of scout, and the reasons for doubt.

Across all benchmark suites, `high` meant a regret within 5% in 94% of cases; see docs/suggestion.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from lrscout.results import Confidence, Probing
from lrscout.search.bracket import doubts_of_reading, why_probe
from lrscout.search.curve import Curve
from lrscout.search.probing import BAND
from lrscout.search.scout import HORIZON

MIN_STEPS_PER_DECADE = 12.0  # with fewer, the mean regret doubles
NARROW_BAND = 0.25  # decades; if the band of usable rates is narrower, small errors are costly
WIDE_BAND = 2.0  # decades; if it is wider, the loss hardly tells rates apart. The widest of the benchmarks: 1.3
MAX_SEED_RATIO = 3.0  # seeds that differ by a larger factor disagree
MAX_EXTRAPOLATION = 10.0  # factor between the horizon and the one that the constants were measured for
MANY_EPOCHS = 100
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def judge(
    curves: Sequence[Curve], rates: Sequence[float], horizon: int, epochs: float | None = None
) -> tuple[Confidence, tuple[str, ...]]:
    """The confidence in a suggestion, and the doubts that keep it from being high.

    `curves` are those of all seeds, `rates` the suggestions of the seeds that have one. `epochs` is the horizon in
    passes over the data, or None if unknown.
    """
    unsure = [doubt for curve in curves if (doubt := _grave_doubt(curve)) is not None]
    if unsure:
        by_seed = (f"in {count} of {len(curves)} seeds, {doubt}" for doubt, count in _told_once(unsure))
        return "low", tuple(unsure if len(curves) == 1 else by_seed)
    first, probing = curves[0], curves[0].sweep.probing
    doubts = [] if first.too_few else doubts_of_reading(first)
    doubts += _doubts_of_sweep(first) if probing is None else _doubts_of_probes(probing)
    if max(rates) > MAX_SEED_RATIO * min(rates):
        doubts.append(f"the seeds disagree by a factor of {max(rates) / min(rates):.2g}")
    if not HORIZON / MAX_EXTRAPOLATION <= horizon <= HORIZON * MAX_EXTRAPOLATION:
        doubts.append(f"extrapolated to {horizon} steps of training from measurements at {HORIZON}")
    if epochs is not None and epochs > MANY_EPOCHS:
        doubts.append(
            f"{epochs:.0f} epochs may overfit, so that any rate that trains is too high: watch the held-out loss"
        )
    return ("medium" if doubts else "high"), tuple(doubts)


def _told_once(doubts: Sequence[str]) -> list[tuple[str, int]]:
    """Doubts that differ in their numbers alone as one, with the range of these, and how many there are of each."""
    alike: dict[str, list[str]] = {}
    for doubt in doubts:
        alike.setdefault(NUMBER.sub("#", doubt), []).append(doubt)
    return [(_merged(same), len(same)) for same in alike.values()]


def _merged(alike: Sequence[str]) -> str:
    ranges = iter([_range(numbers) for numbers in zip(*map(NUMBER.findall, alike))])
    return NUMBER.sub(lambda match: next(ranges), alike[0])


def _range(numbers: Sequence[str]) -> str:
    least, most = min(numbers, key=float), max(numbers, key=float)
    return least if least == most else f"{least} to {most}"


def _grave_doubt(curve: Curve) -> str | None:
    probing = curve.sweep.probing
    if probing is not None and probing.best is None:
        return "no short training run lowered the loss by more than the noise between batches"
    if probing is None and (curve.too_few or not curve.falls):
        return "the fall is hidden in the noise, so the rate is based on the divergence alone"
    why = why_probe(curve) if probing is None else None
    return None if why is None else f"{why}, and no short training runs were made"


def _doubts_of_sweep(curve: Curve) -> list[str]:
    """Doubts about a rate that is based on the sweep alone."""
    diverges = curve.rate_of_divergence
    if diverges is not None and curve.steps_per_decade(diverges) < MIN_STEPS_PER_DECADE:
        return [f"only {curve.steps_per_decade(diverges):.0f} steps in the decade below the divergence"]
    return []


def _doubts_of_probes(found: Probing) -> list[str]:
    """Doubts about a rate that is based on short training runs."""
    if found.best is None or found.low is None or found.high is None:
        return []  # already a grave doubt
    rates = [probe.lr for probe in found.probes]
    if not min(rates) < found.best < max(rates):
        return ["the loss is lowest at the edge of the rates that were tried"]
    width = found.high / found.low
    if math.log10(width) < NARROW_BAND:
        return [f"only a narrow band of rates, a factor of {width:.2g} wide, comes within {BAND:.0%} of the best"]
    if math.log10(width) > WIDE_BAND:
        return [
            f"rates that differ by a factor of {width:.2g} come within {BAND:.0%} of the best, so the loss hardly tells"
            " them apart: unless a lower loss is all that matters, take a rate from the lower end of the usable ones"
        ]
    return []
