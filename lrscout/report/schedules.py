"""The list of schedules, and a plot of their shapes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from textwrap import fill

from lrscout.report.axes import Axis, Points, step_axis, value_axis
from lrscout.report.plot import BLUE, MAGENTA, MAX_WIDTH, Series, draw, widest
from lrscout.report.terminal import Style
from lrscout.schedules import (
    SCHEDULES,
    SUFFIX,
    Averaging,
    Parameter,
    describe_schedule,
    parameters_of,
    schedule_parameters,
    warmed_up,
    written,
)

SYMBOLS = "*o+x#@%="  # of the curves: distinct without color and in any encoding
INKS = (BLUE, MAGENTA, "32", "33", "36", "31", "34", "95")
INDENT = 25  # of the text next to a name
OTHERS = {
    "torch:CLASS": "A scheduler of torch.optim.lr_scheduler with its parameters: torch:StepLR:step_size=100; in them,"
    " $total and $peak stand for the steps and the rate of a run.",
    "pkg.mod:attr": "Your own: a function of (step, total) that returns the multiplier of the peak rate, or a factory"
    " of (optimizer, total_steps) that returns a scheduler.",
}
AVERAGING = (Averaging.__doc__ or "").split("\n")[0]
SHARED = parameters_of(warmed_up)


def list_schedules(style: Style) -> str:
    """All schedules with their descriptions and their parameters."""
    blocks = []
    for name in SCHEDULES:
        lines = [_beside(name, describe_schedule(name), style)]
        lines += [_parameter(p, style) for key, p in schedule_parameters(name).items() if p != SHARED.get(key)]
        blocks.append("\n".join(lines))
    shared = [_beside("all schedules", (warmed_up.__doc__ or "").split("\n")[0], style)]
    blocks.append("\n".join(shared + [_parameter(parameter, style) for parameter in SHARED.values()]))
    averaged = [_beside(f"NAME{SUFFIX}", AVERAGING, style)]
    blocks.append("\n".join(averaged + [_parameter(each, style) for each in parameters_of(Averaging).values()]))
    blocks.append("\n".join(_beside(name, text, style) for name, text in OTHERS.items()))
    return "\n\n".join(blocks)


def _parameter(parameter: Parameter, style: Style) -> str:
    return _beside(f"  {parameter.name}={written(parameter.default)}", parameter.type, style, bold=False)


def _beside(name: str, text: str, style: Style, bold: bool = True) -> str:
    """A name with a text in a column to its right, or below it if there is no room."""
    indent = min(INDENT, style.width // 2)
    begin = f"{name:{indent}}" if len(name) < indent - 1 else f"{name}  "
    filled = fill(text, style.width, initial_indent=begin, subsequent_indent=" " * indent)
    return f"\x1b[1m{name}\x1b[0m{filled.removeprefix(name)}" if style.color and bold else filled


def schedules_json() -> str:
    """All schedules with their descriptions and their parameters, and what may follow them, as JSON."""
    known = [_described(name, describe_schedule(name), schedule_parameters(name)) for name in SCHEDULES]
    suffixes = [_described(SUFFIX, AVERAGING, parameters_of(Averaging))]
    document = {"schema": 1, "command": "schedules", "schedules": known, "suffixes": suffixes}
    return json.dumps(document, indent=2)


def _described(name: str, description: str, parameters: Mapping[str, Parameter]) -> dict[str, object]:
    known = [{"name": p.name, "type": p.type, "default": p.default} for p in parameters.values()]
    return {"name": name, "description": description, "parameters": known}


def plot_schedules(curves: Mapping[str, Points], total: int, style: Style) -> str:
    """The multiplier of the peak learning rate over the steps of a run, with a symbol for each schedule.

    Symbols alternate where curves overlap.
    """
    width = min(style.width, MAX_WIDTH)
    height = min(20, max(12, width // 4))
    y = value_axis(0.0, max(1.0, *(ratio for points in curves.values() for _, ratio in points)), height - 3)
    columns, rows = width - widest(y) - 2, height - 3
    x = step_axis(total, columns, "step")
    taken: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, points in enumerate(curves.values()):
        for cell in _cells(points, x, y, columns, rows):
            taken[cell].append(number)
    shown: list[Points] = [[] for _ in curves]
    for (column, row), numbers in sorted(taken.items()):
        place = (x.high * column / (columns - 1), y.high * row / (rows - 1))
        shown[numbers[(column + row) % len(numbers)]].append(place)
    series = [
        Series([points], SYMBOLS[number % len(SYMBOLS)], label, INKS[number % len(INKS)])
        for number, (label, points) in enumerate(zip(curves, shown))
    ]
    return draw(series, x, y, (width, height), style)


def _cells(points: Sequence[tuple[float, float]], x: Axis, y: Axis, columns: int, rows: int) -> set[tuple[int, int]]:
    """The cells (column, row) that a curve passes through, with jumps joined vertically."""
    heights: dict[int, list[int]] = defaultdict(list)
    for step, ratio in points:
        heights[round(x.fraction(step) * (columns - 1))].append(round(y.fraction(ratio) * (rows - 1)))
    cells: set[tuple[int, int]] = set()
    last = heights[0][0]
    for column in range(columns):
        for row in heights.get(column, [last]):  # in a short run, a value lasts until the next step
            beyond = range(last + 1, row) if row > last else range(row + 1, last)
            cells |= {(column, between) for between in (row, *beyond)}
            last = row
    return cells
