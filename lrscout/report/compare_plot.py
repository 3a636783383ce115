"""Plots of a comparison: the mean training loss of each schedule, with the range of its seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from textwrap import fill

from lrscout.report.axes import HUGE, Axis, Points, rate_axis, step_axis, value_axis
from lrscout.report.plot import (
    BLUE,
    DIM,
    MAX_WIDTH,
    Series,
    beside,
    draw,
    one_of_several,
    rows_of_plots,
    widest,
    width_beside,
)
from lrscout.report.terminal import Style
from lrscout.results import CompareResult

HEIGHT = 10

Curve = list[tuple[int, float, float, float]]  # step; lowest, mean and highest loss over the seeds


def plot_schedules_losses(result: CompareResult, style: Style) -> str:
    """The training loss of the scored runs of each schedule, on the same axes.

    Where plots of their own would take more than a third of the window, one holds the means of all.
    """
    curves = {row.label: mean_curve(result, row.label) for row in result.ranking}
    losses = [loss for curve in curves.values() for point in curve for loss in point[1:]]
    if not losses:
        return "no loss to plot"
    logarithmic = min(losses) > 0
    stacked = rows_of_plots(len(curves), style)
    together = not style.verbose and not style.has_room_for(stacked)
    width = min(style.width, MAX_WIDTH) if together else width_beside(style)
    height = style.plot_height(HEIGHT, 1 if together else stacked)
    y = _loss_axis(losses, logarithmic, height)
    x = step_axis(result.steps, width - widest(y) - 2)
    shown = {label: curve for label, curve in curves.items() if curve}
    what = "mean" if together else "mean and range"
    heading = fill(f"training loss, {what} of the seeds{' (log scale)' if logarithmic else ''}", style.width)
    if together:
        series = [
            one_of_several(place, label, _mean(curve, logarithmic), y, style)
            for place, (label, curve) in enumerate(shown.items())
        ]
        return f"{heading}\n{draw(series, x, y, (width, height), style)}"
    plots = [_plot(label, curve, x, y, (width, height), logarithmic, style) for label, curve in shown.items()]
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
    band = [
        [(float(step), _height(low, logarithmic)), (float(step), _height(high, logarithmic))]
        for step, low, _, high in curve
    ]
    series = [
        Series(band, "░", "seeds", DIM, line=True),
        Series([_mean(curve, logarithmic)], "▚", label, BLUE, line=True, drawn="hd"),
    ]
    return draw(series, x, y, size, style)


def _mean(curve: Curve, logarithmic: bool) -> Points:
    return [(float(step), _height(mean, logarithmic)) for step, _, mean, _ in curve]


def _height(loss: float, logarithmic: bool) -> float:
    return math.log10(loss) if logarithmic else loss
