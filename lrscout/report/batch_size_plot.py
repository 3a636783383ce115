"""Plots of a batch-size search: memory and throughput by batch size."""

from __future__ import annotations

import math

from lrscout.formatting import format_bytes
from lrscout.report.axes import Axis, size_axis, value_axis
from lrscout.report.plot import (
    BLUE,
    DIM,
    GREEN,
    MAGENTA,
    MIN_HEIGHT,
    Series,
    beside,
    draw,
    rows_of_plots,
    widest,
    width_beside,
)
from lrscout.report.terminal import Style
from lrscout.results import BatchSizeResult
from lrscout.search.goodput import goodput

ROWS = 12  # default height of each plot


def plot_trials(result: BatchSizeResult, style: Style, height: int | None = None) -> str:
    """Peak memory with the fitted line and the limit, and throughput below it."""
    plots = [plot_memory(result, style, height), plot_throughput(result, style, height)]
    return "\n\n".join(beside([*filter(None, plots)], style)) or "too few sizes to plot"


def plot_memory(result: BatchSizeResult, style: Style, height: int | None = None) -> str:
    """The peak of each size that ran, the fitted line and the limit; empty for fewer than two peaks."""
    peaks = {t.batch_size: t.peak_bytes for t in result.trials if t.outcome == "fits" and t.peak_bytes is not None}
    if len(peaks) < 2:
        return ""
    width, rows = width_beside(style), max(MIN_HEIGHT, height or style.plot_height(ROWS, rows_of_plots(2, style)))
    failed = [t.batch_size for t in result.trials if t.outcome in ("out_of_memory", "killed")]
    limit = result.limit_bytes
    shows_limit = limit is not None and (bool(failed) or limit < 1.5 * max(peaks.values()))  # not if it is far above
    top = max([*peaks.values(), *([limit] if shows_limit and limit is not None else [])])
    unit = 1024 ** min(4, int(math.log(max(top, 1), 1024)))
    y = value_axis(0.0, 1.08 * top / unit, rows - 3)
    last = max([*peaks, *failed])
    name = format_bytes(unit).split()[1]
    x = value_axis(0.0, 1.02 * last, max(9, (width - 4 - widest(y)) // 4), f"batch size (peak memory in {name})")
    series = []
    model = result.memory_model
    if model is not None:
        end = (
            last
            if model.peak_bytes(last) <= y.high * unit
            else (y.high * unit - model.base_bytes) / model.bytes_per_sample
        )
        line = [(at, model.peak_bytes(1) / unit + model.bytes_per_sample * (at - 1) / unit) for at in (0.0, float(end))]
        series.append(Series([_above(line, y)], "▚", "fitted line", DIM, line=True, drawn="hd"))
    if shows_limit and limit is not None:
        level = limit / unit
        series.append(
            Series([[(x.low, level), (x.high, level)]], "─", f"limit {format_bytes(limit)}", MAGENTA, line=True)
        )
        if failed:
            series.append(Series([[(float(size), level) for size in failed]], "x", "did not fit", MAGENTA))
    series.append(Series([[(float(size), peak / unit) for size, peak in sorted(peaks.items())]], "•", "peak", BLUE))
    return draw(series, x, y, (width, rows), style)


def plot_throughput(result: BatchSizeResult, style: Style, height: int | None = None) -> str:
    """Samples per second of each size that ran, and what they are worth; empty for fewer than two."""
    rates = _rates(result)
    if len(rates) < 2:
        return ""
    width, rows = width_beside(style), max(MIN_HEIGHT, height or style.plot_height(ROWS, rows_of_plots(2, style)))
    y = value_axis(0.0, 1.08 * max(rate for _, rate in rates), rows - 3)
    x = size_axis(rates[0][0], rates[-1][0], width - 4 - widest(y), "batch size (samples/s)")
    points = [(math.log2(size), rate) for size, rate in rates]
    series = [Series([points], "▚", "samples/s", BLUE, line=True, drawn="hd"), Series([points], "•", "samples/s", BLUE)]
    if result.timings and result.noise_scale is not None:
        worth = [(math.log2(each.batch_size), goodput(each, result.noise_scale)) for each in result.timings]
        series.append(Series([worth], "▞", "counted by what they teach", GREEN, line=True, drawn="hd"))
    chosen = next((p for p in points if result.batch_size is not None and p[0] == math.log2(result.batch_size)), None)
    if chosen is not None:
        label = f"recommended {result.batch_size}"
        series.append(Series([[(chosen[0], y.low), (chosen[0], y.high)]], "┃", label, MAGENTA, line=True))
    return draw(series, x, y, (width, rows), style)


def _rates(result: BatchSizeResult) -> list[tuple[int, float]]:
    """The speed of each size: as it was timed in turn with the others, or else in its trial."""
    tried = {t.batch_size: t.samples_per_second for t in result.trials if t.samples_per_second is not None}
    return sorted({**tried, **{t.batch_size: t.samples_per_second for t in result.timings}}.items())


def _above(line: list[tuple[float, float]], y: Axis) -> list[tuple[float, float]]:
    """The line without the part below the axis, where the fit to a convex curve may start."""
    (x0, y0), (x1, y1) = line
    return [(x0 + (x1 - x0) * (y.low - y0) / (y1 - y0), y.low), (x1, y1)] if y0 < y.low < y1 else line
