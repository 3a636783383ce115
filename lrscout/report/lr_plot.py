"""The plot of a learning-rate sweep."""

from __future__ import annotations

import math

from lrscout.formatting import format_lr
from lrscout.report.axes import HUGE, Axis, Points, inside, loss_limits, pieces, rate_axis, thin, value_axis
from lrscout.report.plot import BLUE, DIM, MAGENTA, MAX_WIDTH, MIN_HEIGHT, Band, Series, draw, widest
from lrscout.report.terminal import Style
from lrscout.results import LrResult

CLOUD = 30  # points per decade of the rate, and from the lowest to the highest loss


def plot_sweep(result: LrResult, style: Style, height: int | None = None) -> str:
    """The loss by learning rate: a dot for each batch, a line for the smoothed loss, and the suggestion."""
    usable = [p for p in result.points if p.lr > 0 and math.isfinite(p.lr)]
    raw = [(math.log10(p.lr), _clipped(p.loss)) for p in usable if math.isfinite(p.loss)]
    smooth = [(math.log10(p.lr), _clipped(p.smoothed_loss)) for p in usable if math.isfinite(p.smoothed_loss)]
    if not raw or not smooth:
        return "no finite loss to plot"
    width = min(style.width, MAX_WIDTH)
    height = max(MIN_HEIGHT, height or style.plot_height(min(22, max(14, width // 4))))
    y = value_axis(*loss_limits([p[1] for p in raw], [p[1] for p in smooth]), height - 3)
    spread = _spread(result)
    rates = [p[0] for p in raw + smooth]
    x = rate_axis(min(rates), max(rates), width - 4 - widest(y), "learning rate")
    dots = thin(inside(raw, y.low, y.high), width)
    curve = pieces(thin(smooth, 2 * width), y.low, y.high)
    series = [Series([dots], "•", "loss", DIM), Series(curve, "▚", "smoothed", BLUE, line=True, drawn="hd")]
    if spread:
        within = [p for p in spread if x.low <= p[0] <= x.high]
        series[0] = Series([inside(within, y.low, y.high)], "░", f"{len(result.seeds)} seeds", DIM)
    lr = result.suggestion.lr
    if lr is not None and lr > 0 and x.low <= math.log10(lr) <= x.high:
        upright = [(math.log10(lr), y.low), (math.log10(lr), y.high)]
        series.insert(1, Series([upright], "┃", f"suggested {format_lr(lr)}", MAGENTA, line=True))
    return draw(series, x, y, (width, height), style, _band(result, x))


def _spread(result: LrResult) -> Points:
    """The area between the lowest and the highest smoothed loss of the seeds, filled with points."""
    by_bin: dict[int, list[float]] = {}
    for each in result.seeds:
        for p in each.points:
            if p.lr > 0 and math.isfinite(p.lr) and math.isfinite(p.smoothed_loss):
                by_bin.setdefault(round(math.log10(p.lr) * CLOUD), []).append(_clipped(p.smoothed_loss))
    cloud = []
    for place, losses in by_bin.items():
        low, high = min(losses), max(losses)
        cloud += [(place / CLOUD, low + (high - low) * i / CLOUD) for i in range(CLOUD + 1)]
    return cloud


def _clipped(loss: float) -> float:
    return min(max(loss, -HUGE), HUGE)


def _band(result: LrResult, x: Axis) -> Band | None:
    low, high = result.suggestion.low, result.suggestion.high
    if low is None or high is None or not 0 < low < high < math.inf:
        return None
    left, right = max(math.log10(low), x.low), min(math.log10(high), x.high)
    label = f"usable {format_lr(low)} to {format_lr(high)}"
    return Band(left, right, label, MAGENTA) if left < right else None
