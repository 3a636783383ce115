"""The plots of a record as plain data, for whatever can draw more than characters. All numbers are finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from lrscout.formatting import format_bytes, format_lr
from lrscout.report.axes import HUGE, Points, loss_limits, thin
from lrscout.report.compare_plot import mean_curve
from lrscout.results import BatchSizeResult, CompareResult, LrResult, RunRecord, TrainRunResult
from lrscout.search.goodput import goodput
from lrscout.search.statistics import ExponentialAverage

PARTS = 1000  # of a curve, of each of which the lowest and the highest point are kept
SMOOTHING = 0.9  # weight of the past in the average of a training's loss, from point to point


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one kind, in increasing x."""

    label: str
    points: Points
    line: bool = True  # or dots
    faint: bool = False  # the background of another curve
    spread: tuple[tuple[float, float, float], ...] = ()  # x, and the lowest and the highest y there


@dataclass(frozen=True, slots=True)
class Mark:
    """A value of x, or a range of them, that stands out."""

    label: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Chart:
    """One plot."""

    title: str
    x: str  # what its axes show
    y: str
    curves: tuple[Curve, ...]
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    y_limits: tuple[float, float] | None = None  # what is worth seeing, where that is not everything
    marks: tuple[Mark, ...] = ()


def charts(record: RunRecord[Any]) -> list[Chart]:
    """The plots of a record; none where there is nothing to see."""
    made = CHARTS[record.command](record.result) if record.result is not None and record.command in CHARTS else []
    return [chart for chart in made if any(curve.points for curve in chart.curves)]


def _points(pairs: Iterable[tuple[float, float | None]], positive_x: bool = False) -> Points:
    found = [
        (float(x), min(max(float(y), -HUGE), HUGE))
        for x, y in pairs
        if y is not None and math.isfinite(x) and math.isfinite(y) and (x > 0 or not positive_x)
    ]
    return thin(found, PARTS)


def _scale(values: Iterable[float], factor: float = 10.0) -> Literal["linear", "log"]:
    """Logarithmic where positive values span more than this."""
    found = list(values)
    return "log" if found and min(found) > 0 and max(found) > factor * min(found) else "linear"


def sweep_charts(result: LrResult) -> list[Chart]:
    """The sweep of each optimizer."""
    numbered = [(f"optimizer {other.number}: {other.optimizer}", other.result) for other in result.others]
    first = "the first optimizer" if numbered else "Loss by learning rate"
    return [_sweep(title, each) for title, each in [(first, result), *numbered]]


def _sweep(title: str, result: LrResult) -> Chart:
    raw = _points(((p.lr, p.loss) for p in result.points), positive_x=True)
    smooth = _points(((p.lr, p.smoothed_loss) for p in result.points), positive_x=True)
    limits = loss_limits([y for _, y in raw], [y for _, y in smooth]) if raw and smooth else None
    found, marks = result.suggestion, []
    if found.low is not None and found.high is not None and 0 < found.low < found.high < math.inf:
        marks.append(Mark(f"usable {format_lr(found.low)} to {format_lr(found.high)}", found.low, found.high))
    if found.lr is not None and 0 < found.lr < math.inf:
        marks.append(Mark(f"suggested {format_lr(found.lr)}", found.lr, found.lr))
    curves = (Curve("loss", raw, line=False, faint=True), Curve("smoothed", smooth))
    return Chart(title, "learning rate", "loss", curves, "log", "linear", limits, tuple(marks))


def size_charts(result: BatchSizeResult) -> list[Chart]:
    """Memory and speed by batch size."""
    size = result.batch_size
    marks = () if size is None else (Mark(f"recommended {size}", float(size), float(size)),)
    return [_memory(result, marks), _speed(result, marks)]


def _memory(result: BatchSizeResult, marks: tuple[Mark, ...]) -> Chart:
    fitting = sorted((t.batch_size, t.peak_bytes) for t in result.trials if t.outcome == "fits" and t.peak_bytes)
    top = max((peak for _, peak in fitting), default=1)
    unit = 1024 ** min(4, int(math.log(max(top, 1), 1024)))
    curves = [Curve("peak", _points((size, peak / unit) for size, peak in fitting), line=False)]
    if fitting and result.memory_model is not None:
        ends = (fitting[0][0], fitting[-1][0])
        curves.append(Curve("fitted line", _points((n, result.memory_model.peak_bytes(n) / unit) for n in ends)))
    limit = result.limit_bytes
    if fitting and limit is not None and limit < 1.5 * top:
        ends = (fitting[0][0], fitting[-1][0])
        curves.append(Curve(f"limit {format_bytes(limit)}", _points((n, limit / unit) for n in ends)))
    name = format_bytes(unit).split()[1]
    return Chart("Memory", "batch size", f"peak memory in {name}", tuple(curves), marks=marks)


def _speed(result: BatchSizeResult, marks: tuple[Mark, ...]) -> Chart:
    tried = {t.batch_size: t.samples_per_second for t in result.trials}
    timed = {t.batch_size: t.samples_per_second for t in result.timings}
    curves = [Curve("samples/s", _points(sorted({**tried, **timed}.items())))]
    scale = result.noise_scale
    if timed and scale is not None:
        worth = _points((t.batch_size, goodput(t, scale)) for t in result.timings)
        curves.append(Curve("counted by what they teach", worth))
    return Chart("Throughput", "batch size", "samples/s", tuple(curves), "log", marks=marks)


def comparison_charts(result: CompareResult) -> list[Chart]:
    """The mean training loss of each schedule, with the range of its seeds."""
    curves = []
    for row in result.ranking:
        found = mean_curve(result, row.label)
        spread = tuple((float(step), low, high) for step, low, _, high in found)
        curves.append(Curve(row.label, _points((step, mean) for step, _, mean, _ in found), spread=spread))
    scale = _scale(y for curve in curves for _, low, high in curve.spread for y in (low, high))
    return [Chart("Training loss, mean and range of the seeds", "step", "training loss", tuple(curves), y_scale=scale)]


def training_charts(result: TrainRunResult) -> list[Chart]:
    """The loss and the rate over the steps."""
    average = ExponentialAverage(SMOOTHING)
    raw = _points((p.step, p.loss) for p in result.points)
    smooth = [(step, average.update(loss)) for step, loss in raw]
    curves = (Curve("loss", raw, line=False, faint=True), Curve("smoothed", smooth))
    rates = Curve("learning rate", _points((p.step, p.lr) for p in result.points))
    return [
        Chart("Training loss", "step", "loss", curves, y_scale=_scale(max(y, 0.0) for _, y in raw)),
        Chart("Learning rate", "step", "learning rate", (rates,)),
    ]


CHARTS: dict[str, Callable[[Any], list[Chart]]] = {
    "find-lr": sweep_charts,
    "find-batch-size": size_charts,
    "compare-schedulers": comparison_charts,
    "run": training_charts,
}
"""How the result of each command is plotted."""
