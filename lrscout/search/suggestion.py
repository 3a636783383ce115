"""From sweeps to the headline: the suggestion of a rule with its confidence, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lrscout.formatting import format_loss, format_lr, scientific
from lrscout.results import Suggestion, SweepResult, Use
from lrscout.search.confidence import judge
from lrscout.search.curve import FALL_FACTOR, MIN_POINTS, Curve
from lrscout.search.probing import all_failed, horizon_power, suggest_probed
from lrscout.search.rules import CALIBRATED, RULES
from lrscout.search.scout import HORIZON_POWER, USES, horizon_factor

SHOWN_HORIZONS = (400, 4_000, 40_000)  # steps of training, shown next to the requested horizon
LEAP = 10.0  # times the second step; a larger first step skips every usable rate (a linear sweep from near zero)


def suggest(curves: Sequence[Curve], rule: str, use: Use, horizon: int, epochs: float | None = None) -> Suggestion:
    """The headline: the rule's suggestion, or the reason why there is none. With several seeds, it is the median.

    `horizon` is the length of the full training run in optimizer steps; `epochs` is the same in passes over the data,
    or None if unknown. Only calibrated rules take them into account.
    """
    found = [_suggest(curve, rule, use, horizon) for curve in curves]
    by_rate = {each.lr: each for each in found if each.lr is not None}
    rates = sorted(each.lr for each in found if each.lr is not None)
    if len(rates) <= len(found) // 2:
        return next(each for each in found if each.lr is None)
    suggestion = found[0]
    if len(found) > 1:
        median = math.sqrt(rates[(len(rates) - 1) // 2] * rates[len(rates) // 2])
        nearest = min(by_rate, key=lambda rate: abs(math.log(rate / median)))
        reason = f"the median of {len(found)} seeds, which range from {format_lr(rates[0])} to {format_lr(rates[-1])}"
        suggestion = replace(moved_by(by_rate[nearest], median / nearest), reason=reason)
    if rule not in CALIBRATED:
        return suggestion
    confidence, doubts = judge(curves, rates, horizon, epochs)
    return replace(suggestion, confidence=confidence, doubts=doubts)


def _suggest(curve: Curve, rule: str, use: Use, horizon: int) -> Suggestion:
    """The suggestion from one sweep, or the reason why there is none."""
    probing = curve.sweep.probing if rule in CALIBRATED else None
    if probing is None or probing.best is None:
        problem = (all_failed(probing) if probing is not None else None) or diagnose(curve)
        if problem is not None:
            return Suggestion(None, rule, problem)
    return _apply_rule(curve, rule, use, horizon)


def _apply_rule(curve: Curve, rule: str, use: Use, horizon: int) -> Suggestion:
    """The suggestion of a rule regardless of the verdict; a calibrated rule defers to short training runs."""
    if rule not in CALIBRATED:
        return RULES[rule](curve, use)
    probing = curve.sweep.probing
    made = (suggest_probed(probing, use) if probing is not None else None) or RULES[rule](curve, use)
    return moved_by(made, horizon_factor(horizon, horizon_power(probing, use)))


def moved_by(suggestion: Suggestion, factor: float) -> Suggestion:
    """Multiply all rates of a suggestion by a factor: its rate, its band and those of its parameter groups."""
    lr, low, high = (None if x is None else x * factor for x in (suggestion.lr, suggestion.low, suggestion.high))
    groups = tuple(rate * factor for rate in suggestion.groups)
    return replace(suggestion, lr=lr, low=low, high=high, groups=groups)


def by_length(curves: Sequence[Curve], rule: str, horizon: int) -> dict[str, dict[Use, float | None]]:
    """The rule's rates for each use, by training length (steps, as text), on which only calibrated rules depend."""
    lengths = sorted({horizon, *SHOWN_HORIZONS}) if rule in CALIBRATED else [horizon]
    return {str(steps): uses_of(curves, rule, steps) for steps in lengths}


def power_of(rates: Mapping[str, Mapping[Use, float | None]], use: Use) -> float:
    """The power at which these rates fall with the training length; HORIZON_POWER if too few are known."""
    near, far = (rates.get(str(steps), {}).get(use) for steps in SHOWN_HORIZONS[:2])
    if near is None or far is None:
        return HORIZON_POWER
    return math.log(near / far) / math.log(SHOWN_HORIZONS[1] / SHOWN_HORIZONS[0])


def uses_of(curves: Sequence[Curve], rule: str, horizon: int) -> dict[Use, float | None]:
    """The rule's rate for each use."""
    return {use: suggest(curves, rule, use, horizon).lr for use in USES}


def rates_of_rules(curve: Curve, use: Use, horizon: int) -> dict[str, float | None]:
    """The rate of every rule, regardless of the verdict on the sweep."""
    if curve.too_few:
        return dict.fromkeys(RULES)
    return {rule: _apply_rule(curve, rule, use, horizon).lr for rule in RULES}


def diagnose(curve: Curve) -> str | None:
    """Why this sweep gives no answer and what to do about it; None if it does give one.

    A sweep below a known rate of divergence needs no rise of its own, and its fall may be hidden in the noise. In the
    latter case, the confidence is low.
    """
    points = curve.sweep.points
    problem = _problem(curve)
    if problem is None or curve.sweep.stop_reason != "interrupted":
        return problem
    when = f"at {format_lr(points[-1].lr)}" if points else "at the start"
    return f"interrupted {when}, before the loss had fallen and risen again. Let the sweep finish."


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
            f"too noisy: the loss varies by {format_loss(curve.noise)} from batch to batch, but fell by only "
            f"{format_loss(curve.fall)} overall. Raise --steps, --accumulate or the batch size."
        )
    if sweep.stop_reason in ("completed", "interrupted") and curve.lowest_at_end:
        if len(curve.rates) < 2 * MIN_POINTS:
            return f"too few points: {len(curve.rates)} are not enough to see where the loss would rise. Raise --steps."
        return (
            f"the loss never rose: it is lowest at the end of the sweep, at {format_lr(curve.rates[-1])}, so the best "
            "rate may be higher. Raise --max-lr."
        )
    return None


def _too_few(sweep: SweepResult) -> str:
    points, stop_reason = sweep.points, sweep.stop_reason
    finite = sum(math.isfinite(p.loss) for p in points)
    if stop_reason == "non_finite" and points and finite == 0:
        return (
            f"non-finite at {format_lr(points[-1].lr)}, the very first step. "
            "Look for nan or inf in the data, the loss function and fp16 weights; otherwise lower --min-lr."
        )
    if stop_reason == "non_finite" and points:
        return (
            f"non-finite at {format_lr(points[-1].lr)}, after {finite} finite losses. "
            "Lower --min-lr; if the loss still diverges at once, look for nan or inf in the data and for fp16 weights."
        )
    return f"too few points: at least {MIN_POINTS} finite losses are needed, got {finite}. Raise --steps."


def _never_fell(curve: Curve) -> str:
    initial = format_loss(curve.initial)
    finding = f"the loss never fell between {format_lr(curve.rates[0])} and {format_lr(curve.rates[-1])}"
    leap, following = curve.rates[1] / curve.rates[0], curve.rates[2] / curve.rates[1]
    if leap > LEAP * following:
        return (
            f"{finding}: the first step raised the rate by a factor of {scientific(leap, 1)}. "
            "Use --spacing exponential, or raise --min-lr."
        )
    if max(curve.smoothed) - curve.initial > max(FALL_FACTOR * curve.error, 1e-3 * abs(curve.initial)):
        return (
            f"{finding}: it only rose from {initial}, varying by {format_loss(curve.noise)} from batch to batch. "
            "Lower --min-lr, or raise --steps or the batch size."
        )
    if curve.sweep.stop_reason == "non_finite":
        return (
            f"non-finite at {format_lr(curve.sweep.points[-1].lr)}, and {finding}: it stayed at {initial}. "
            "Raise --steps, look for nan or inf in the data, or use --precision fp32."
        )
    return (
        f"{finding}: it stayed at {initial}. Raise --max-lr or --steps; if that does not help, the loss may not depend "
        "on the parameters that the optimizer trains."
    )
