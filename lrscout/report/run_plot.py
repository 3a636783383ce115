"""The plots of a training: its loss and its rate over the steps."""

from __future__ import annotations

import math
from dataclasses import replace

from lrscout.formatting import scientific
from lrscout.report.axes import HUGE, TINY, Axis, Points, inside, pieces, rate_axis, step_axis, thin, value_axis
from lrscout.report.charts import SMOOTHING
from lrscout.report.plot import BLUE, DIM, MAGENTA, MAX_WIDTH, MIN_HEIGHT, Series, draw, widest
from lrscout.report.terminal import Style
from lrscout.results import TrainRunResult
from lrscout.search.statistics import ExponentialAverage

RATE_HEIGHT = 8
DECADE = 10.0  # losses that differ by more are shown on a logarithmic axis


def plot_training(result: TrainRunResult, style: Style, height: int | None = None) -> str:
    """The loss, a dot for each stretch of steps and a line for its average, above the rate."""
    losses = [(float(p.step), min(p.loss, HUGE)) for p in result.points if math.isfinite(p.loss)]
    if not losses:
        return "no finite loss to plot"
    width = min(style.width, MAX_WIDTH)
    height = max(MIN_HEIGHT, height or style.plot_height(min(16, max(10, width // 5)), 2))
    average = ExponentialAverage(SMOOTHING)
    smoothed = [(step, average.update(loss)) for step, loss in losses]
    low, high = min(loss for _, loss in losses), max(loss for _, loss in smoothed)
    label = "loss"
    if low > 0 and high > DECADE * low:
        label = "loss (log scale)"
        losses, smoothed = _logarithms(losses), _logarithms(smoothed)
        y = _decimal(rate_axis(math.log10(low), math.log10(high), 5 * height))
    else:
        margin = 0.04 * (high - low) or max(0.1 * abs(high), TINY)
        y = value_axis(low - margin, high + margin, height - 3)
    rates = [(float(p.step), p.lr) for p in result.points]
    over = _rate_axis(rates)
    room = max(widest(y), widest(over))  # so that the same steps stand below each other
    x = step_axis(max(result.points[-1].step + 1, 2), width - room - 2)
    dots = inside(thin(losses, width), y.low, y.high)
    line = pieces(thin(smoothed, 2 * width), y.low, y.high)
    above = [Series([dots], "•", label, DIM), Series(line, "▚", "smoothed", BLUE, line=True, drawn="hd")]
    below = [Series([thin(rates, width)], "▚", "learning rate", MAGENTA, line=True, drawn="hd")]
    plots = [
        draw(above, x, _padded(y, room), (width, height), style),
        draw(below, replace(x, label="step"), _padded(over, room), (width, RATE_HEIGHT), style),
    ]
    return "\n".join(plots)


def _logarithms(points: Points) -> Points:
    return [(step, math.log10(value)) for step, value in points]


def _decimal(axis: Axis) -> Axis:
    """The axis with losses of ordinary size written without an exponent: 0.5 rather than 5e-1."""
    ticks = ((at, f"{10**at:g}" if -3 <= at < 5 else label) for at, label in axis.ticks)
    return replace(axis, ticks=tuple(ticks))


def _rate_axis(rates: Points) -> Axis:
    """From 0 to the highest rate."""
    high = max(lr for _, lr in rates) or 1.0
    ticks = tuple((share * high, "0" if not share else scientific(share * high, 1)) for share in (0, 0.5, 1))
    return Axis(0.0, 1.05 * high, ticks)


def _padded(axis: Axis, width: int) -> Axis:
    return replace(axis, ticks=tuple((at, label.rjust(width)) for at, label in axis.ticks))
