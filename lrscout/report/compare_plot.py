"""Plots of a comparison: the mean training loss of each schedule, with the range of its seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from textwrap import fill

from lrscout.report.axes import HUGE, Axis, rate_axis, step_axis, value_axis
from lrscout.report.plot import BLUE, DIM, Series, beside, draw, rows_of_plots, widest, width_beside
from lrscout.report.terminal import Style
from lrscout.results import CompareResult

HEIGHT = 10

Curve = list[tuple[int, float, float, float]]  # step; lowest, mean and highest loss over the seeds


def plot_schedules_losses(result: CompareResult, style: Style) -> str:
    """The training loss of the scored runs of each schedule, on the same axes."""
    curves = {row.label: mean_curve(result, row.label) for row in result.ranking}
    losses = [loss for curve in curves.values() for point in curve for loss in point[1:]]
    if not losses:
        return "no loss to plot"
    logarithmic = min(losses) > 0
    width, height = width_beside(style), style.plot_height(HEIGHT, rows_of_plots(len(curves), style))
    y = _loss_axis(losses, logarithmic, height)
    x = step_axis(result.steps, width - widest(y) - 2)
    plots = [_plot(label, curve, x, y, (width, height), logarithmic, style) for label, curve in curves.items() if curve]
    heading = fill(f"training loss, mean and range of the seeds{' (log scale)' if logarithmic else ''}", style.width)
    return "\n".join([heading, *beside(plots, style)])


def mean_curve(result: CompareResult, label: str) -> Curve:
    """The loss by step over the scored runs of a schedule that finished."""
    at: dict[int, list[float]] = defaultdict(list)
    for run in result.runs:
        if run.label == label and run.role == "score" and run.status == "ok":
            for point in run.points:
                at[point.step].append(min(max(point.loss, -HUGE), HUGE))
    return [(step, min(losses), sum(losses) / len(losses), max(losses)) for step, losses in sorted(at.items())]


def _loss_axis(losses: list[float], logarithmic: bool, height: int) -> Axis:
    low, high = min(losses), max(losses)
    if not logarithmic:
        return value_axis(low, high if high > low else low + 1, height - 3)
    axis = rate_axis(math.log10(low), math.log10(high), 5 * height)
    return replace(axis, ticks=tuple((at, _decimal(label)) for at, label in axis.ticks))


def _decimal(label: str) -> str:
    """A loss without an exponent if it is of ordinary size: 0.5 rather than 5e-1."""
    loss = float(label)
    return f"{loss:g}" if 1e-3 <= loss < 1e5 else label


def _plot(label: str, curve: Curve, x: Axis, y: Axis, size: tuple[int, int], logarithmic: bool, style: Style) -> str:
    def height(loss: float) -> float:
        return math.log10(loss) if logarithmic else loss

    band = [[(float(step), height(low)), (float(step), height(high))] for step, low, _, high in curve]
    mean = [(float(step), height(middle)) for step, _, middle, _ in curve]
    series = [
        Series(band, "░", "seeds", DIM, line=True),
        Series([mean], "▚", label, BLUE, line=True, drawn="hd"),
    ]
    return draw(series, x, y, size, style)
