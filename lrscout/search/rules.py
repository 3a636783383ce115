"""The rules: each one reads a learning rate off the curve of a sweep."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

from lrscout.formatting import format_loss, format_lr
from lrscout.results import Suggestion, Use
from lrscout.search.curve import Curve
from lrscout.search.scout import suggest_scout

MINIMUM_DIVISOR = 10.0  # the classic rule of thumb (Smith 2017; fastai)
SLIDE_WINDOW = 0.15  # of the points; the distance between the slopes that are compared (fastai: 15 of 100)
# Mean regret constant | cosine: 0.39 | 0.45 at 0.05, 0.16 | 0.16 at 0.3, 0.18 | 0.11 at 0.5.
SLIDE_TOLERANCE = 0.3  # of the whole fall, per decade; slopes that differ by less count as equal

Rule = Callable[[Curve, Use], Suggestion]
"""Reads a rate off a curve, which must have enough points. Only scout's answer depends on the use."""


def suggest_steepest(curve: Curve, use: Use) -> Suggestion:
    """The rate where the smoothed loss falls fastest per decade.

    Ignores rates above that of the lowest smoothed loss. Ties go to the smaller rate.
    Source: Smith (2017), https://arxiv.org/abs/1506.01186.
    """
    slopes = curve.slopes[: max(1, curve.lowest_smoothed) + 1]
    at = slopes.index(min(slopes))
    if slopes[at] >= 0:
        return Suggestion(None, "steepest", "the smoothed loss never falls")
    reason = f"the smoothed loss falls fastest here, by {format_loss(-slopes[at])} per decade"
    return Suggestion(curve.rates[at], "steepest", reason)


def suggest_valley(curve: Curve, use: Use) -> Suggestion:
    """The middle of the longest descent of the smoothed loss.

    The descent is the longest strictly decreasing subsequence. Ties go to the one that ends last.
    Source: the valley rule of fastai's learning-rate finder, https://docs.fast.ai/callback.schedule.html.
    """
    descent = longest_descent(curve.smoothed)
    if len(descent) < 2:
        return Suggestion(None, "valley", "the smoothed loss never falls")
    first, last = curve.rates[descent[0]], curve.rates[descent[-1]]
    reason = f"the longest descent runs from {format_lr(first)} to {format_lr(last)}"
    return Suggestion(curve.rates[descent[len(descent) // 2]], "valley", reason)


def suggest_slide(curve: Curve, use: Use) -> Suggestion:
    """The last rate before the smoothed loss changes its slope for good.

    A window slides from the last rate towards the first until the slopes at its two ends agree. Slopes are measured
    relative to the whole fall, so the scale of the loss does not matter.
    Source: the slide rule of fastai's learning-rate finder, https://docs.fast.ai/callback.schedule.html.
    """
    slopes, fall = curve.slopes, curve.initial - min(curve.smoothed)
    if fall <= 0 or curve.lowest_smoothed == 0:
        return Suggestion(None, "slide", "the smoothed loss never falls")
    window = max(1, round(SLIDE_WINDOW * len(slopes)))
    right = len(slopes) - 1
    while right > window and abs(slopes[right] - slopes[right - window]) > SLIDE_TOLERANCE * fall:
        right -= 1
    left = right - window
    return Suggestion(curve.rates[left], "slide", f"the slope changes for good at {format_lr(curve.rates[left])}")


def suggest_minimum(curve: Curve, use: Use) -> Suggestion:
    """A tenth of the rate with the lowest smoothed loss.

    Never less than the first rate of the sweep.
    """
    if curve.lowest_smoothed == 0:
        return Suggestion(None, "minimum", "the smoothed loss never falls")
    lowest = curve.rates[curve.lowest_smoothed]
    lr = max(lowest / MINIMUM_DIVISOR, curve.rates[0])  # rates below the first are untested
    return Suggestion(lr, "minimum", f"the smoothed loss is lowest at {format_lr(lowest)}")


DEFAULT_RULE = "scout"
RULES: dict[str, Rule] = {
    "scout": suggest_scout,
    "steepest": suggest_steepest,
    "valley": suggest_valley,
    "slide": suggest_slide,
    "minimum": suggest_minimum,
}

CALIBRATED = frozenset({"scout"})
"""The rules whose constants were fitted to full training runs.

Only these scale with the horizon, defer to short training runs if there are any, and come with a confidence."""


def longest_descent(values: Sequence[float]) -> list[int]:
    """The indices of a longest strictly decreasing subsequence, found by patience sorting in O(n log n)."""
    tails: list[float] = []  # the negated last value of the best descent of each length
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
