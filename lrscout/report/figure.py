"""The plots of a record as a picture; the only module that imports matplotlib."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lrscout.formatting import scientific
from lrscout.report.charts import Chart, charts
from lrscout.report.views import printed, view_of
from lrscout.results import RunRecord

WIDTH, HEIGHT = 7.0, 3.6  # of a plot, in inches
DOTS_PER_INCH = 150
GRAY, PURPLE = "#8a94a6", "#a0309a"
WIDE = 100.0  # times as large as the lowest value: from there on, only powers of ten have labels
LONGEST = 60  # characters of a title or of a name in the legend
# no text of a record is a formula, and the same record gives the same picture
SETTINGS = {"text.parse_math": False, "text.usetex": False, "svg.hashsalt": "lrscout", "svg.fonttype": "none"}


def draw_figure(record: RunRecord[Any], form: Literal["svg", "png"]) -> bytes:
    """All plots of a record below each other, under its headline."""
    record = printed(record)
    plots = charts(record)
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, HEIGHT * max(1, len(plots))), layout="constrained")
        figure.suptitle(_short(view_of(record).headline(record)))
        for axes, chart in zip(figure.subplots(len(plots), squeeze=False)[:, 0] if plots else (), plots):
            _draw(axes, chart)
        file = BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # letters that the font lacks are drawn as boxes
            figure.savefig(file, format=form, dpi=DOTS_PER_INCH, metadata={"Date": None} if form == "svg" else None)
    return file.getvalue()


def _draw(axes: Axes, chart: Chart) -> None:
    for mark in chart.marks:
        if mark.low == mark.high:
            axes.axvline(mark.low, color=PURPLE, label=_short(mark.label))
        else:
            axes.axvspan(mark.low, mark.high, color=PURPLE, alpha=0.1, linewidth=0, label=_short(mark.label))
    for curve in chart.curves:
        if not curve.points:
            continue
        xs, ys = zip(*curve.points)
        color: dict[str, Any] = {"color": GRAY} if curve.faint else {}
        form = {"linewidth": 1.8} if curve.line else {"linestyle": "", "marker": ".", "markersize": 4}
        (drawn,) = axes.plot(xs, ys, label=_short(curve.label), **color, **form)
        if curve.spread:
            places, lows, highs = zip(*curve.spread)
            axes.fill_between(places, lows, highs, color=drawn.get_color(), alpha=0.15, linewidth=0)
    axes.set_title(_short(chart.title), fontsize="medium")
    axes.set_xlabel(chart.x)
    axes.set_ylabel(chart.y)
    axes.set_xscale(chart.x_scale)
    axes.set_yscale(chart.y_scale)
    _scale(axes.xaxis, chart.x_scale, [x for curve in chart.curves for x, _ in curve.points])
    _scale(axes.yaxis, chart.y_scale, [y for curve in chart.curves for _, y in curve.points])
    if chart.y_limits is not None:
        axes.set_ylim(chart.y_limits)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _scale(axis: Axis, scale: str, values: list[float]) -> None:
    """A linear or a logarithmic axis, whose numbers are no formulas either."""
    if scale == "log":
        steps = (1.0,) if max(values) > WIDE * min(values) else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
        axis.set_minor_formatter(NullFormatter())


def _number(value: float) -> str:
    return f"{value:g}" if 1e-3 <= value < 1e5 else scientific(value, 0)


def _short(text: str) -> str:
    """A text of the record as a label: matplotlib leaves out those that begin with an underscore."""
    told = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return f" {told}" if told.startswith("_") else told
