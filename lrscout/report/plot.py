"""Plots for the terminal; the only module that imports plotext."""

from __future__ import annotations

import math
import re
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import zip_longest
from types import ModuleType
from typing import Any

from lrscout.report.axes import Axis, Points, inside, pieces, thin
from lrscout.report.terminal import Style, columns_of, printable, trim

EDGE = 1e-6  # of an axis: how far beyond it a point may be
MAX_WIDTH = 120  # wider plots show nothing more
SIDE_BY_SIDE = 72  # columns from which two plots fit next to each other
LARGEST_BESIDE = 58  # columns of each
GAP = 2
DOCS = "plotext._doc.doc"
MIN_HEIGHT = 6  # the frame, the labels and three rows
ASCII = str.maketrans("┌┐└┘├┤┬┴┼─│━┯┃•▚…±░", "+++++++++-|=+|.*~~:")
DIM, BLUE, MAGENTA, GREEN = "2", "94", "35", "32"  # readable on dark and light backgrounds

INKS = (BLUE, MAGENTA, GREEN, "33", "36", "31")
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # tell curves apart where there are no colors

_figure = threading.Lock()  # plotext has one global figure


@dataclass(frozen=True, slots=True)
class Series:
    """Points drawn with one symbol, as dots or as lines; later series cover earlier ones."""

    pieces: Sequence[Points]  # lines are not joined between pieces
    symbol: str  # in the legend, and of dots
    label: str  # in the legend
    ink: str  # ANSI color code
    line: bool = False
    drawn: str | None = None  # the plotext marker of a line, if it is not the symbol


@dataclass(frozen=True, slots=True)
class Band:
    """A range of x, shown as a thicker part of the axis."""

    low: float
    high: float
    label: str
    ink: str


def draw(
    series: Sequence[Series], x: Axis, y: Axis, size: tuple[int, int], style: Style, band: Band | None = None
) -> str:
    """A plot of the series with a legend below.

    Points beyond the axes are left out. `size` is in characters, excluding the label of the x axis and the legend.
    """
    cells = _cells(_plotext(series, x, y, size, style))
    left = widest(y)
    if band is not None:
        _thicken(cells, left, x, band)
    lines = [_line(row, series, style) for row in cells]
    if x.label:
        lines.append(" " * (left + max(0, (size[0] - left - len(x.label)) // 2)) + printable(x.label))
    return trim("\n".join([*lines, *_legend(series, band, left, size[0], style)]))


def one_of_several(place: int, name: str, points: Points, y: Axis, style: Style) -> Series:
    """A curve among others in the same plot, told apart by its color, or else by its letter."""
    ink, points = INKS[place % len(INKS)], thin(points, style.width)
    if style.color:
        return Series(pieces(points, y.low, y.high), "▚", name, ink, line=True, drawn="hd")
    return Series([inside(points, y.low, y.high)], LETTERS[place % len(LETTERS)], name, ink)


def width_beside(style: Style) -> int:
    """The width of each of several plots: two stand beside each other where there is room."""
    return min((style.width - GAP) // 2 if style.width >= SIDE_BY_SIDE else style.width, LARGEST_BESIDE)


def rows_of_plots(count: int, style: Style) -> int:
    """How many rows of plots `beside` makes."""
    return -(-count // 2) if style.width >= SIDE_BY_SIDE else count


def beside(plots: Sequence[str], style: Style) -> list[str]:
    """Plots of `width_beside` in rows of two, or of one where there is no room."""
    if style.width < SIDE_BY_SIDE:
        return [*plots]
    pairs = zip_longest(plots[::2], plots[1::2], fillvalue="")
    return [_joined(left, right, width_beside(style) + GAP) for left, right in pairs]


def _joined(left: str, right: str, start: int) -> str:
    lines = zip_longest(left.split("\n"), right.split("\n"), fillvalue="")
    return "\n".join((a + " " * (start - columns_of(a)) + b).rstrip() for a, b in lines)


def widest(axis: Axis) -> int:
    """The width of the longest tick label in columns."""
    return max((len(label) for _, label in axis.ticks), default=0)


class _LateDocs:
    """plotext's help texts, created when they are accessed."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(DOCS).docs, name)


def import_plotext() -> Any:
    """Import plotext without assembling its help texts, which takes three quarters of the 0.25 s."""
    if "plotext" not in sys.modules and DOCS not in sys.modules:
        late = ModuleType(DOCS)
        vars(late)["docs"] = _LateDocs()
        sys.modules[DOCS] = late
        try:
            import_module("plotext")
        finally:
            del sys.modules[DOCS]
    return import_module("plotext")


def _plotext(series: Sequence[Series], x: Axis, y: Axis, size: tuple[int, int], style: Style) -> str:
    """The plot as drawn by plotext, with the index of each series as its color, for `_cells`.

    plotext is given only numbers from 0 to 1: NaN would end the process, and distant points would take minutes.
    """
    with _figure:
        plotext = import_plotext()
        plotext.terminal.limit(False, False)  # or plotext uses the size of the terminal
        figure = plotext.figure
        figure.clear()
        figure.theme("colorless")
        figure.plot_size(*size)
        for number, each in enumerate(series):
            glyph = (each.drawn or each.symbol) if style.unicode else each.symbol.translate(ASCII)
            marker = plotext.marker(glyph, plotext.pixel(number))
            for points in filter(None, each.pieces):
                within = [at for at in ((x.fraction(p[0]), y.fraction(p[1])) for p in points) if _is_within(*at)]
                if within:
                    signal = figure.signal(*map(list, zip(*within)), marker=marker)
                    figure.draw(signal.lines() if each.line else signal)
        for name, axis in (("x", x), ("y", y)):
            ruler = figure.ruler(name)
            ruler.lim(0, 1)
            places = [(axis.fraction(at), label) for at, label in axis.ticks if math.isfinite(axis.fraction(at))]
            ruler.ticks([min(max(place, 0), 1) for place, _ in places], [label for _, label in places])
        try:
            return str(figure.build().string(colorless=False))
        finally:
            figure.clear()


def _is_within(x: float, y: float) -> bool:
    """Whether a point is on the plot: as rounding leaves it, and not nan."""
    return -EDGE <= x <= 1 + EDGE and -EDGE <= y <= 1 + EDGE


_TOKEN = re.compile(r"\x1b\[(?:38;5;(\d+)|[0-9;]*)m|(.)")
Cells = list[list[tuple[str, int | str | None]]]  # a character with the index of its series, an ink, or neither


def _cells(text: str) -> Cells:
    rows: Cells = []
    for line in text.rstrip("\n").split("\n"):
        row: list[tuple[str, int | str | None]] = []
        number: int | None = None
        for token in _TOKEN.finditer(line):
            if token[2] is not None:
                row.append((token[2], number))
            else:
                number = int(token[1]) if token[1] else None
        rows.append(row)
    return rows


def _thicken(cells: Cells, left: int, x: Axis, band: Band) -> None:
    axis = next((row for row in reversed(cells) if len(row) > left and row[left][0] == "└"), None)
    if axis is None:
        return
    last = len(axis) - left - 3  # last column of the canvas
    first, final = (_column(x.fraction(end), last) for end in (band.low, band.high))
    for column in range(left + 1 + first, left + 2 + final):
        axis[column] = ("┯" if axis[column][0] == "┬" else "━", band.ink)


def _column(fraction: float, last: int) -> int:
    """The column of a tick: plotext rounds halves towards the middle."""
    return int(0.5 + 1e-4 + fraction * (last - 2e-4))


def _line(row: list[tuple[str, int | str | None]], series: Sequence[Series], style: Style) -> str:
    """A row of cells as text, with no more color codes than needed."""
    text, current = "", None
    for character, owner in row:
        ink = series[owner].ink if isinstance(owner, int) else owner
        if style.color and ink != current:
            text += ("\x1b[0m" if current else "") + (f"\x1b[{ink}m" if ink else "")
            current = ink
        text += character if style.unicode else character.translate(ASCII)
    return text + ("\x1b[0m" if current else "")


def _legend(series: Sequence[Series], band: Band | None, indent: int, width: int, style: Style) -> list[str]:
    """The legend, on as many lines as needed."""
    entries = {each.label: (each.symbol, each.ink) for each in sorted(series, key=lambda s: s.symbol == "┃")}
    if band is not None:
        entries[band.label] = ("━", band.ink)
    lines: list[str] = []
    room = 0
    for label, (symbol, ink) in entries.items():
        glyph = symbol if style.unicode else symbol.translate(ASCII)
        entry = (f"\x1b[{ink}m{glyph}\x1b[0m" if style.color else glyph) + f" {printable(label)}"
        needed = 2 + len(printable(label)) + 2
        if not lines or needed > room:
            lines.append(" " * indent + entry)
            room = width - indent - needed + 2
        else:
            lines[-1] += "  " + entry
            room -= needed
    return lines
