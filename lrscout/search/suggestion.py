"""From a sweep to the headline: the rule's suggestion with its confidence, or why the sweep does not answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lrscout.results import Suggestion, SweepResult, Use
from lrscout.search.confidence import judge
from lrscout.search.curve import FALL_FACTOR, MIN_POINTS, Curve
from lrscout.search.probing import all_failed, horizon_power, suggest_probed
from lrscout.search.rules import CALIBRATED, RULES
from lrscout.search.scout import HORIZON_POWER, USES, horizon_factor

SHOWN_HORIZONS = (400, 4_000, 40_000)  # steps of training, beside the horizon that was asked for
LEAP = 10.0  # a first step up that many times the second jumps over every answer (a linear sweep from near zero)


def suggest(curves: Sequence[Curve], rule: str, use: Use, horizon: int, epochs: float | None = None) -> Suggestion:
    """The headline: the rule's suggestion, or why there is none; of several seeds' sweeps the median.

    `horizon` is the length of the real training in optimizer steps, and `epochs` in passes over the data, where that is
    known; scout alone goes by it.
    """
    found = [_suggest(curve, rule, use, horizon) for curve in curves]
    by_rate = {each.lr: each for each in found if each.lr is not None}
    rates = sorted(each.lr for each in found if each.lr is not None)
    if len(rates) <= len(found) // 2:
        return next(each for each in found if each.lr is None)
    lr = math.sqrt(rates[(len(rates) - 1) // 2] * rates[len(rates) // 2])
    nearest = min(by_rate, key=lambda rate: abs(math.log(rate / lr)))
    made = moved_by(by_rate[nearest], lr / nearest) if len(found) > 1 else found[0]
    if len(found) > 1:
        made = replace(made, reason=f"the median of {len(found)} seeds, which give {rates[0]:.2g} to {rates[-1]:.2g}")
    if rule not in CALIBRATED:
        return made
    confidence, doubts = judge(curves, rates, horizon, epochs)
    return replace(made, confidence=confidence, doubts=doubts)


def _suggest(curve: Curve, rule: str, use: Use, horizon: int) -> Suggestion:
    """One sweep's suggestion, or why it has none."""
    probing = curve.sweep.probing if rule in CALIBRATED else None
    if probing is None or probing.best is None:
        problem = (all_failed(probing) if probing is not None else None) or diagnose(curve)
        if problem is not None:
            return Suggestion(None, rule, problem)
    return _apply_rule(curve, rule, use, horizon)


def _apply_rule(curve: Curve, rule: str, use: Use, horizon: int) -> Suggestion:
    """What the rule says, whatever the verdict on the sweep; a calibrated one gives way to short trainings."""
    if rule not in CALIBRATED:
        return RULES[rule](curve, use)
    probing = curve.sweep.probing
    made = (suggest_probed(probing, use) if probing is not None else None) or RULES[rule](curve, use)
    return moved_by(made, horizon_factor(horizon, horizon_power(probing, use)))


def moved_by(suggestion: Suggestion, factor: float) -> Suggestion:
    """The suggestion with its band and its groups' rates, times a factor."""
    lr, low, high = (None if x is None else x * factor for x in (suggestion.lr, suggestion.low, suggestion.high))
    groups = tuple(rate * factor for rate in suggestion.groups)
    return replace(suggestion, lr=lr, low=low, high=high, groups=groups)


def by_length(curves: Sequence[Curve], rule: str, horizon: int) -> dict[str, dict[Use, float | None]]:
    """The rule's rate for every use, for trainings of several lengths in steps, as text; only scout goes by them."""
    lengths = sorted({horizon, *SHOWN_HORIZONS}) if rule in CALIBRATED else [horizon]
    return {str(steps): uses_of(curves, rule, steps) for steps in lengths}


def power_of(rates: Mapping[str, Mapping[Use, float | None]], use: Use) -> float:
    """The power by which these rates for several lengths of training fall with it; scout's where they do not tell."""
    near, far = (rates.get(str(steps), {}).get(use) for steps in SHOWN_HORIZONS[:2])
    if near is None or far is None:
        return HORIZON_POWER
    return math.log(near / far) / math.log(SHOWN_HORIZONS[1] / SHOWN_HORIZONS[0])


def uses_of(curves: Sequence[Curve], rule: str, horizon: int) -> dict[Use, float | None]:
    """The rule's rate for every use."""
    return {use: suggest(curves, rule, use, horizon).lr for use in USES}


def rates_of_rules(curve: Curve, use: Use, horizon: int) -> dict[str, float | None]:
    """What every rule reads off a sweep, whatever the verdict; scout's goes by the horizon."""
    if curve.too_few:
        return dict.fromkeys(RULES)
    return {rule: _apply_rule(curve, rule, use, horizon).lr for rule in RULES}


def diagnose(curve: Curve) -> str | None:
    """Why this sweep does not answer, with what to do about it; None where it does.

    Where it looks below a rate at which the loss is known to diverge, that stands in for a rise that was not reached,
    and for a fall that is hidden in the noise; the confidence is then low.
    """
    points = curve.sweep.points
    problem = _problem(curve)
    if problem is None or curve.sweep.stop_reason != "interrupted":
        return problem
    when = f"at {points[-1].lr:.2g}" if points else "at once"
    return f"interrupted {when}, before the loss had fallen and risen. Let the sweep run to its end."


def _problem(curve: Curve) -> str | None:
    sweep = curve.sweep
    if curve.too_few:
        return _too_few(sweep)
    if sweep.below is not None and sweep.stop_reason != "interrupted" and (curve.falls or curve.is_hidden):
        return None
    if not curve.falls and (curve.lowest_at_start or curve.fall <= max(curve.error, curve.rounding)):
        return _never_fell(curve)
    if not curve.falls:
        return (
            f"too noisy: the loss varies by {curve.noise:.2g} from batch to batch and fell by {curve.fall:.2g} in all. "
            "Raise --steps, --accumulate or the batch size."
        )
    if sweep.stop_reason in ("completed", "interrupted") and curve.lowest_at_end:
        if len(curve.rates) < 2 * MIN_POINTS:
            return f"too few points: {len(curve.rates)} do not tell where the loss would rise. Raise --steps."
        return (
            f"the loss never rose: it is lowest at the sweep's end, {curve.rates[-1]:.2g}, so the best rate may "
            "lie beyond. Raise --max-lr."
        )
    return None


def _too_few(sweep: SweepResult) -> str:
    points, stop_reason = sweep.points, sweep.stop_reason
    finite = sum(math.isfinite(p.loss) for p in points)
    if stop_reason == "non_finite" and points and finite == 0:
        return (
            f"non-finite at {points[-1].lr:.2g}, the very first step. "
            "Look for nan or inf in the data, the loss function and fp16 weights; else lower --min-lr."
        )
    if stop_reason == "non_finite" and points:
        return (
            f"non-finite at {points[-1].lr:.2g}, after {finite} finite losses. "
            "Lower --min-lr; if even that diverges at once, look for nan or inf in the data and for fp16 weights."
        )
    return f"too few points: {finite} finite losses, and {MIN_POINTS} are needed. Raise --steps."


def _never_fell(curve: Curve) -> str:
    told = f"the loss never fell between {curve.rates[0]:.2g} and {curve.rates[-1]:.2g}"
    leap, following = curve.rates[1] / curve.rates[0], curve.rates[2] / curve.rates[1]
    if leap > LEAP * following:
        return f"{told}: the first step up was {leap:.2g}-fold. Use --spacing exponential, or raise --min-lr."
    if max(curve.smoothed) - curve.initial > max(FALL_FACTOR * curve.error, 1e-3 * abs(curve.initial)):
        return (
            f"{told}: it only rose, from {curve.initial:.3g}, and varies by {curve.noise:.2g} from batch to batch. "
            "Lower --min-lr, or raise --steps or the batch size."
        )
    if curve.sweep.stop_reason == "non_finite":
        return (
            f"non-finite at {curve.sweep.points[-1].lr:.2g}, and {told}: it stayed at {curve.initial:.3g}. "
            "Raise --steps; look for nan or inf in the data, or use --precision fp32."
        )
    return (
        f"{told}: it stayed at {curve.initial:.3g}. Raise --max-lr or --steps; if it still stays, the loss may not "
        "depend on what the optimizer trains."
    )
