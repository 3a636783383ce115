"""Several records of a command at once: their numbers in one table, their curves in one plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lrscout.differences import QUANTITIES, told, values_of
from lrscout.report.axes import rate_axis, step_axis, value_axis
from lrscout.report.charts import Chart, Curve, charts
from lrscout.report.compare_schedulers import plus_minus
from lrscout.report.plot import MAX_WIDTH, draw, one_of_several, widest
from lrscout.report.tables import add_row, rendered, table, target_text
from lrscout.report.terminal import Style, printable
from lrscout.results import CompareResult, RunRecord

Records = Mapping[str, RunRecord[Any]]  # by the name that the user knows each by
SEPARATION = 3  # columns between two columns of a table
OVERLAID = ("find-lr", "run")  # whose records are one curve each


def show_several(records: Records, style: Style) -> str:
    """Everything a person reads of several records of one command."""
    first = next(iter(records.values()))
    blocks = [_numbers(records, style)]
    if first.command == "compare-schedulers":
        blocks.append(_schedules(records, style))
    elif first.command in OVERLAID:
        plots = {name: found[0] for name, record in records.items() if (found := charts(record))}
        blocks += [_overlaid(plots, style)] if plots else []
    return "\n\n".join(blocks)


def _numbers(records: Records, style: Style) -> str:
    """A row for every record; quantities for which there is no room are left out, the last first."""
    command = next(iter(records.values())).command
    values = {name: values_of(record) for name, record in records.items()}
    columns = {"record": list(records)}
    targets = [target_text(record) or "" for record in records.values()]
    if len(set(targets)) > 1:
        columns["target"] = targets
    for name in QUANTITIES[command]:
        if any(found[name] is not None for found in values.values()):
            columns[name.replace("_", " ")] = [told(command, name, found[name]) for found in values.values()]
    cells = {head: [printable(cell) for cell in column] for head, column in columns.items()}
    widths = [max(map(len, [head, *column])) + SEPARATION for head, column in cells.items()]
    fitting = [head for place, head in enumerate(cells) if place < 2 or sum(widths[: place + 1]) <= style.width]
    lines = table(style, *fitting, left=(0, 1) if "target" in cells else (0,))
    for row in zip(*(cells[head] for head in fitting)):
        add_row(lines, row)
    return rendered(lines, style)


def _schedules(records: Records, style: Style) -> str:
    """The metric of every schedule in every record, and whether it is as good as the best there."""
    results: dict[str, CompareResult] = {name: r.result for name, r in records.items() if r.result is not None}
    labels = dict.fromkeys(row.label for result in results.values() for row in result.ranking)
    lines = table(style, "schedule", *map(printable, results))
    for label in labels:
        lines_of = [next((row for row in result.ranking if row.label == label), None) for result in results.values()]
        cells = [
            "" if row is None else "-" if row.final is None else plus_minus(row.final, style.unicode)
            for row in lines_of
        ]
        add_row(lines, [label, *cells])
    return rendered(lines, style)


def _overlaid(plots: Mapping[str, Chart], style: Style) -> str:
    """The smoothed curve of every chart, on axes that hold all of them."""
    first = next(iter(plots.values()))
    width = min(style.width, MAX_WIDTH)
    height = min(22, max(14, width // 4))
    curves = {name: _curve(chart) for name, chart in plots.items()}
    limits = [chart.y_limits or _range(curve.points, 1) for chart, curve in zip(plots.values(), curves.values())]
    low, high = min(each[0] for each in limits), max(each[1] for each in limits)
    if low > 0 and any(chart.y_scale == "log" for chart in plots.values()):
        curves = {name: _mapped(curve, lambda x, y: (x, math.log10(max(y, low)))) for name, curve in curves.items()}
        y = rate_axis(math.log10(low), math.log10(high), 5 * height)
    else:
        y = value_axis(low, high if high > low else low + 1, height - 3)
    room = width - 4 - widest(y)
    if first.x_scale == "log":
        curves = {name: _mapped(curve, lambda x, y: (math.log10(x), y)) for name, curve in curves.items()}
        x = rate_axis(*_range([p for curve in curves.values() for p in curve.points], 0), room, first.x)
    else:
        x = replace(step_axis(int(max(p[0] for c in curves.values() for p in c.points)) + 1, room), label=first.x)
    series = [one_of_several(place, name, curve.points, y, style) for place, (name, curve) in enumerate(curves.items())]
    return draw(series, x, y, (width, height), style)


def _curve(chart: Chart) -> Curve:
    """The one that stands for a chart."""
    return next(curve for curve in reversed(chart.curves) if curve.points)


def _mapped(curve: Curve, change: Any) -> Curve:
    return replace(curve, points=[change(x, y) for x, y in curve.points])


def _range(points: Sequence[tuple[float, float]], place: int) -> tuple[float, float]:
    found = [p[place] for p in points]
    return min(found), max(found)
