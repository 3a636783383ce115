"""The report of run: what leads to the answer, the answer, and the parts of the exports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from lrscout.formatting import format_loss, format_lr, format_seconds
from lrscout.report.blocks import Block, TextPlot
from lrscout.report.run_plot import plot_training
from lrscout.report.tables import common_facts, fact_grid, rendered, stacked, unfinished
from lrscout.report.terminal import PAGE, Style
from lrscout.results import TrainRunRecord, TrainRunResult


def details(record: TrainRunRecord, style: Style) -> str:
    """How the training went: facts, and plots of its loss and its rate."""
    if record.result is None:
        return ""
    return stacked([fact_grid(facts(record)), plot_training(record.result, style)], style)


def closing(record: TrainRunRecord, style: Style) -> str:
    """How it ended."""
    if record.result is None:
        return headline(record)
    return rendered(Text(headline(record), style="bold" if record.status == "ok" else "bold yellow"), style)


def headline(record: TrainRunRecord) -> str:
    """The result in one line."""
    result = record.result
    if result is None or record.status == "failed":
        return unfinished(record)
    ended = "Interrupted after" if record.status == "interrupted" else "Trained"
    return f"{ended} {_steps(result)} with {result.schedule}, peak {format_lr(result.peak_lr)}: loss {_losses(result)}"


def answer(record: TrainRunRecord) -> str | None:
    """The final training loss alone."""
    result = record.result
    return f"{result.final_loss:.6g}" if result is not None and result.points and record.status == "ok" else None


def problem(record: TrainRunRecord) -> str | None:
    """Why the program did not train to its end, or None if it did."""
    return None if record.status in ("ok", "interrupted") else headline(record)


def rows(record: TrainRunRecord) -> Iterator[Sequence[object]]:
    """A header, then the points."""
    yield "step", "lr", "loss"
    for point in record.result.points if record.result is not None else ():
        yield point.step, float(point.lr), float(point.loss)


def blocks(record: TrainRunRecord) -> list[Block]:
    """The plots."""
    return [] if record.result is None else [TextPlot(plot_training(record.result, PAGE))]


def facts(record: TrainRunRecord) -> dict[str, str]:
    """How the training went and what it ran on, as far as the record says."""
    known: dict[str, object] = {}
    result = record.result
    if result is not None:
        known["schedule"] = f"{result.schedule} over {result.steps:,} steps, peak {format_lr(result.peak_lr)}"
        known["steps"] = _taken(result)
        known["loss"] = f"{_losses(result)}, the mean over the last 5% of the steps" if result.points else None
        known["time"] = format_seconds(result.seconds)
        known["exit code"] = result.exit_code
    known |= common_facts(record)
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def _taken(result: TrainRunResult) -> str:
    """How many steps were taken, and at which rate the last one."""
    more = result.steps_taken - result.steps
    beyond = f", {more:,} of them after the end of the schedule" if more > 0 else ""
    last = f"; the last rate is {format_lr(result.points[-1].lr)}" if result.points else ""
    return f"{result.steps_taken:,} taken{beyond}{last}"


def _steps(result: TrainRunResult) -> str:
    return "1 step" if result.steps_taken == 1 else f"{result.steps_taken:,} steps"


def _losses(result: TrainRunResult) -> str:
    return f"{format_loss(result.first_loss)} -> {format_loss(result.final_loss)}"
