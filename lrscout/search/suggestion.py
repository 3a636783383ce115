"""From the points of a sweep to a learning rate: the rules, and the verdict whether the sweep answers at all.

All constants stand at the top with the measurement that chose them: 64 sweeps (8 tasks x 8 seeds, 100 steps from
1e-7 to 10) held against what 400 steps of training reach at every rate of a grid, for a constant rate and for the
peak of a cosine schedule. Regret is the share of the achievable improvement that a rate leaves on the table.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence

from lrscout.results import StopReason, Suggestion, SweepPoint, SweepResult
from lrscout.search.curve import MIN_POINTS, Curve, curve_of

# Where the fall is nearly done and not where it is lowest, because the valley's floor is flat and noisy. Mean and worst
# regret, constant | cosine: 0.98 0.032 0.23 | 0.015 0.04; 0.95 0.020 0.09 | 0.021 0.07; 0.9 0.017 0.09 | 0.030 0.10;
# the lowest itself 0.074 0.43 | 0.018 0.14, a third of it 0.022 0.08 | 0.039 0.21.
SCOUT_SHARE = 0.95  # of the fall
BAND_SHARE = 0.7  # where the usable band begins: mean regret 0.029 | 0.054; it ends at the lowest: 0.074 | 0.018

MINIMUM_DIVISOR = 10.0  # the classic rule of thumb (Smith 2017; fastai)
SLIDE_WINDOW = 0.15  # of the points: the distance at which slopes are compared (fastai's 15 of 100)
# Mean regret constant | cosine: 0.39 | 0.45 at 0.05, 0.16 | 0.16 at 0.3, 0.18 | 0.11 at 0.5.
SLIDE_TOLERANCE = 0.3  # of the whole fall, per decade: slopes that differ less are alike

# Pure noise (normal, exponential, Student's t) passes for a fall in 0 to 4 % of sweeps of 50 steps and more, in 3 to
# 7 % of 20; of 80 sweeps of the 8 tasks, only three of diabetes_mlp_sgd with 30 steps do not pass.
FALL_FACTOR = 3.0  # a fall of less than three of its standard errors may be noise
LEAP = 10.0  # a first step up that many times the second jumps over every answer (a linear sweep from near zero)
RELATIVE_FLOOR = 1e-6  # of the initial loss: a smaller fall is rounding

Rule = Callable[[Sequence[SweepPoint]], Suggestion]


def suggest_scout(points: Sequence[SweepPoint]) -> Suggestion:
    """The smallest rate that makes 95 % of the fall.

    The raw losses are smoothed by a local regression over log rate, which has no lag, unlike the exponential
    average; what lies as far above the initial loss as the best lies below it is cut to that height, so that
    a divergence bends the curve and does not swamp it.
    """
    curve = curve_of(tuple(points))
    if curve.too_few:
        return curve.no_answer("scout")
    if curve.fall <= 0 or curve.lowest_at_start:
        return Suggestion(None, "scout", "the loss falls nowhere")
    lr, low, high = curve.rate_at_fall(SCOUT_SHARE), curve.rate_at_fall(BAND_SHARE), curve.rate_of_lowest
    reason = (
        f"here the loss has made {SCOUT_SHARE:.0%} of its fall, which goes from {curve.initial:.3g} "
        f"to {curve.lowest:.3g} at {high:.2g}"
    )
    return Suggestion(lr, "scout", reason, low, high)


def suggest_steepest(points: Sequence[SweepPoint]) -> Suggestion:
    """The rate where the smoothed loss falls fastest per decade.

    Only rates up to the lowest smoothed loss count; ties go to the smaller rate.
    Source: Smith (2017), https://arxiv.org/abs/1506.01186.
    """
    curve = curve_of(tuple(points))
    if curve.too_few:
        return curve.no_answer("steepest")
    slopes = curve.slopes()[: max(1, curve.lowest_smoothed) + 1]
    at = slopes.index(min(slopes))
    if slopes[at] >= 0:
        return Suggestion(None, "steepest", "the smoothed loss falls nowhere")
    return Suggestion(curve.rates[at], "steepest", f"the smoothed loss falls by {-slopes[at]:.3g} a decade here")


def suggest_valley(points: Sequence[SweepPoint]) -> Suggestion:
    """The middle of the longest descent of the smoothed loss.

    The descent is the longest decreasing subsequence; ties go to the one found last.
    Source: the valley rule of fastai's learning-rate finder, https://docs.fast.ai/callback.schedule.html.
    """
    curve = curve_of(tuple(points))
    if curve.too_few:
        return curve.no_answer("valley")
    descent = longest_descent(curve.smoothed)
    if len(descent) < 2:
        return Suggestion(None, "valley", "the smoothed loss falls nowhere")
    first, last = curve.rates[descent[0]], curve.rates[descent[-1]]
    reason = f"the longest descent goes from {first:.2g} to {last:.2g}"
    return Suggestion(curve.rates[descent[len(descent) // 2]], "valley", reason)


def suggest_slide(points: Sequence[SweepPoint]) -> Suggestion:
    """The last rate before the smoothed loss changes its slope for good.

    A window slides from the last rate to the first until the slopes at its two ends agree. Slopes are taken
    in units of the whole fall, so that the scale of the loss does not matter.
    Source: the slide rule of fastai's learning-rate finder, https://docs.fast.ai/callback.schedule.html.
    """
    curve = curve_of(tuple(points))
    if curve.too_few:
        return curve.no_answer("slide")
    slopes, fall = curve.slopes(), curve.initial - min(curve.smoothed)
    if fall <= 0 or curve.lowest_smoothed == 0:
        return Suggestion(None, "slide", "the smoothed loss falls nowhere")
    window = max(1, round(SLIDE_WINDOW * len(slopes)))
    right = len(slopes) - 1
    while right > window and abs(slopes[right] - slopes[right - window]) > SLIDE_TOLERANCE * fall:
        right -= 1
    left = right - window
    return Suggestion(curve.rates[left], "slide", f"from {curve.rates[left]:.2g} on the slope changes for good")


def suggest_minimum(points: Sequence[SweepPoint]) -> Suggestion:
    """A tenth of the rate with the lowest smoothed loss.

    The sweep's first rate where that is larger.
    """
    curve = curve_of(tuple(points))
    if curve.too_few:
        return curve.no_answer("minimum")
    if curve.lowest_smoothed == 0:
        return Suggestion(None, "minimum", "the smoothed loss falls nowhere")
    lowest = curve.rates[curve.lowest_smoothed]
    lr = max(lowest / MINIMUM_DIVISOR, curve.rates[0])  # nobody has tried a rate below the first
    return Suggestion(lr, "minimum", f"the smoothed loss is lowest at {lowest:.2g}")


DEFAULT_RULE = "scout"
RULES: dict[str, Rule] = {
    "scout": suggest_scout,
    "steepest": suggest_steepest,
    "valley": suggest_valley,
    "slide": suggest_slide,
    "minimum": suggest_minimum,
}


def suggest(sweep: SweepResult, rule: str) -> Suggestion:
    """The headline: the rule's suggestion, or why there is none."""
    problem = diagnose(sweep.points, sweep.stop_reason)
    return RULES[rule](sweep.points) if problem is None else Suggestion(None, rule, problem)


def diagnose(points: Sequence[SweepPoint], stop_reason: StopReason) -> str | None:
    """Why this sweep does not answer, with what to do about it; None where it does."""
    problem = _problem(points, stop_reason)
    if problem is None or stop_reason != "interrupted":
        return problem
    when = f"at {points[-1].lr:.2g}" if points else "at once"
    return f"interrupted {when}, before the loss had fallen and risen. Let the sweep run to its end."


def _problem(points: Sequence[SweepPoint], stop_reason: StopReason) -> str | None:
    curve = curve_of(tuple(points))
    if curve.too_few:
        return _too_few(points, stop_reason)
    if curve.lowest_at_start or curve.fall <= max(curve.error, RELATIVE_FLOOR * abs(curve.initial)):
        return _never_fell(curve, points[-1].lr if stop_reason == "non_finite" else None)
    if curve.fall <= FALL_FACTOR * curve.error:
        return (
            f"too noisy: the loss varies by {curve.noise:.2g} from batch to batch and fell by {curve.fall:.2g} in all. "
            "Raise --steps, --accumulate or the batch size."
        )
    if stop_reason in ("completed", "interrupted") and curve.lowest_at_end:
        if len(curve.rates) < 2 * MIN_POINTS:
            return f"too few points: {len(curve.rates)} do not tell where the loss would rise. Raise --steps."
        return (
            f"the loss never rose: it is lowest at the sweep's end, {curve.rates[-1]:.2g}, so the best rate may "
            "lie beyond. Raise --max-lr."
        )
    return None


def _too_few(points: Sequence[SweepPoint], stop_reason: StopReason) -> str:
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


def _never_fell(curve: Curve, non_finite_at: float | None) -> str:
    told = f"the loss never fell between {curve.rates[0]:.2g} and {curve.rates[-1]:.2g}"
    leap, following = curve.rates[1] / curve.rates[0], curve.rates[2] / curve.rates[1]
    if leap > LEAP * following:
        return f"{told}: the first step up was {leap:.2g}-fold. Use --spacing exponential, or raise --min-lr."
    if max(curve.smoothed) - curve.initial > max(FALL_FACTOR * curve.error, 1e-3 * abs(curve.initial)):
        return (
            f"{told}: it only rose, from {curve.initial:.3g}, and varies by {curve.noise:.2g} from batch to batch. "
            "Lower --min-lr, or raise --steps or the batch size."
        )
    if non_finite_at is not None:
        return (
            f"non-finite at {non_finite_at:.2g}, and {told}: it stayed at {curve.initial:.3g}. "
            "Raise --steps; look for nan or inf in the data, or use --precision fp32."
        )
    return (
        f"{told}: it stayed at {curve.initial:.3g}. Raise --max-lr or --steps; if it still stays, the loss may not "
        "depend on what the optimizer trains."
    )


def longest_descent(values: Sequence[float]) -> list[int]:
    """The indices of a longest strictly decreasing subsequence, by patience sorting in O(n log n)."""
    tails: list[float] = []  # negated last value of the best descent of each length
    at: list[int] = []
    previous: list[int] = []
    for i, value in enumerate(values):
        length = bisect.bisect_left(tails, -value)
        previous.append(at[length - 1] if length else -1)
        if length == len(tails):
            tails.append(-value)
            at.append(i)
        else:
            tails[length] = -value
            at[length] = i
    descent = []
    i = at[-1] if at else -1
    while i >= 0:
        descent.append(i)
        i = previous[i]
    return descent[::-1]
