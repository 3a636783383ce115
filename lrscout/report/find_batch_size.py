"""What find-batch-size found: as the text that a person reads, as the one answer of --quiet, and for other programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lrscout.formatting import format_bytes, format_lr, format_seconds
from lrscout.report.markdown import inline, markdown_table
from lrscout.report.tables import add_row, common_facts, fact_grid, rendered, table, unfinished
from lrscout.report.terminal import PAGE, Style, printable
from lrscout.results import BatchSizeRecord, BatchSizeResult, MemoryEstimate, Trial

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

NOTED_WIDTH = 60  # columns from which a note has room beside a trial
STOPPED = {
    "dataset": "stopped at the length of the data set",
    "throughput": "stopped where throughput no longer rises; larger sizes were not tried",
    "unstable": "stopped, since memory grows from step to step",
    "interrupted": "interrupted",
    "failed": "stopped by a failure",
    "estimate": "estimated from shapes; nothing was run",
}
COLUMNS = tuple(Trial.__dataclass_fields__)


def summary(record: BatchSizeRecord, style: Style) -> str:
    """The answer and why, the trials, what follows for the learning rate, how the search went, and its plots."""
    from lrscout.report.batch_size_plot import plot_trials

    result = record.result
    if result is None:
        return printable(headline(record))
    blocks = [_opening(record, result)]
    if result.trials:
        blocks.append(_trials(result, style))
    blocks += [_table(head, lines, style) for head, lines in _further_tables(result)]
    if result.evaluation is not None:
        blocks += [_evaluation(result.evaluation), _trials(result.evaluation, style)]
    blocks.append(fact_grid(facts(record)))
    text = "\n\n".join(rendered(block, style) for block in blocks)
    return f"{text}\n\n{plot_trials(result, style)}" if len(result.trials) > 1 else text


def headline(record: BatchSizeRecord) -> str:
    """The result in one line."""
    result = record.result
    if result is None or record.status == "failed":
        return unfinished(record)
    if result.estimate is not None:
        return f"Estimate, not an answer: {_about(result.estimate)}"
    size = result.batch_size
    return "No batch size recommended" if size is None else f"Recommended batch size: {size}"


def _about(estimate: MemoryEstimate) -> str:
    size = estimate.batch_size
    return "not even one sample would fit" if size is None else f"about {size} samples would fit"


def answer(record: BatchSizeRecord) -> str | None:
    """The size alone."""
    size = record.result.batch_size if record.result is not None else None
    return None if size is None else str(size)


def problem(record: BatchSizeRecord) -> str | None:
    """Why there is no answer."""
    if record.result is None or record.result.batch_size is not None:
        return None
    if record.result.estimate is not None:
        return f"{headline(record)}. Run without --dry-run to know."
    return f"No batch size recommended: {record.result.reason}."


def rows(record: BatchSizeRecord) -> Iterator[Sequence[object]]:
    """The trials, one a line, under their header."""
    yield COLUMNS
    for trial in record.result.trials if record.result is not None else ():
        yield tuple(getattr(trial, name) for name in COLUMNS)


def markdown(record: BatchSizeRecord) -> list[str]:
    """Why this size, the trials, and the plots, as blocks of Markdown."""
    from lrscout.report.batch_size_plot import plot_trials

    result = record.result
    if result is None:
        return []
    blocks = [inline(f"{line[0].upper()}{line[1:]}.") for line in _reasons(result)]
    tables: list[tuple[Sequence[str], Sequence[Sequence[str]]]] = [
        (("batch size", "outcome", "peak", "samples/s", ""), trial_rows(result)),
        *_further_tables(result),
    ]
    for head, lines in tables:
        blocks.append(markdown_table(head, [[inline(cell) for cell in line] for line in lines]))
    if result.evaluation is not None:
        blocks.append(inline(f"Evaluation: {' '.join(_reasons(result.evaluation))}"))
    return [*blocks, f"```text\n{plot_trials(result, PAGE)}\n```"]


def trial_rows(result: BatchSizeResult) -> list[tuple[str, str, str, str, str]]:
    """Every trial in order of size: size, outcome, peak, samples a second, and what it is to the answer."""
    return [
        (
            str(t.batch_size),
            t.outcome.replace("_", " "),
            "" if t.peak_bytes is None else format_bytes(t.peak_bytes),
            "" if t.samples_per_second is None else format_rate(t.samples_per_second),
            ", ".join(_roles(t, result)),
        )
        for t in sorted(result.trials, key=lambda t: t.batch_size)
    ]


def format_rate(rate: float) -> str:
    """Samples a second with at least three digits: 1067, 85.3, 0.412."""
    return f"{rate:.0f}" if rate >= 99.95 else f"{rate:.{max(1, 2 - math.floor(math.log10(max(rate, 1e-9))))}f}"


def stopped(result: BatchSizeResult) -> str:
    """How many trials there were, and why there were no more."""
    count = f"{result.mode}, {len(result.trials)} trial{'s' * (len(result.trials) != 1)}"
    reason = STOPPED.get(result.stop_reason)
    if reason is None:
        last = {"out_of_memory": ("out_of_memory", "killed"), "timeout": ("timeout",)}.get(result.stop_reason, ())
        least = min((t.batch_size for t in result.trials if t.outcome in last), default=None)
        reason = {
            "out_of_memory": f"{least} does not fit any more",
            "timeout": f"{least} took more than its time",
            "max": "stopped at the largest size to try (--max)",
        }.get(result.stop_reason, result.stop_reason)
    return reason if result.stop_reason == "estimate" else f"{count}: {reason}"


def facts(record: BatchSizeRecord) -> dict[str, str]:
    """How the search went, and on what: only what the record knows."""
    known: dict[str, object] = {}
    result = record.result
    if result is not None:
        known["search"] = stopped(result)
        known["time"] = format_seconds(result.seconds) if result.trials else None
        model = result.memory_model
        if model is not None:
            base = f"{format_bytes(model.base_bytes)} + " if model.base_bytes > 0 else ""  # the line is of large sizes
            slope = f"{base}{format_bytes(model.bytes_per_sample)} a sample"
            known["memory"] = slope if result.estimate is not None else f"{slope}, within {model.fit_error:.1%}"
        if result.budget_bytes is not None:
            known["budget"] = f"{format_bytes(result.budget_bytes)}, of which {result.margin:.0%} stay free"
        known["data set"] = None if result.dataset_size is None else f"{result.dataset_size} samples"
    known |= common_facts(record)
    return {name: printable(value) for name, value in known.items() if value not in (None, "")}


def _reasons(result: BatchSizeResult) -> list[str]:
    """Why this size, and the other answer: the largest that fits."""
    lines = [result.reason] if result.reason else []
    trial = result.trial_of(result.largest_fitting)
    if trial is not None and result.batch_size is not None:
        line = f"the {_largest(result)}: {trial.batch_size}"
        if trial.peak_bytes is not None and result.budget_bytes is not None:
            spare = format_bytes(max(0, result.budget_bytes - trial.peak_bytes))
            line += f", which takes {format_bytes(trial.peak_bytes)} of {format_bytes(result.budget_bytes)}"
            line += f" ({spare} headroom)"
        lines.append(line)
    return lines


def _largest(result: BatchSizeResult) -> str:
    """What the largest fitting size is: the limit only where the sizes above it were looked at too."""
    stable = [t.batch_size for t in result.trials if t.outcome == "fits" and t.growth_bytes is None]
    if max(stable, default=0) > (result.largest_fitting or 0):
        return "largest preferred size"
    looked = result.stop_reason == "out_of_memory" and result.mode != "power"
    return "largest that fits" if looked else "largest that ran"


def _roles(trial: Trial, result: BatchSizeResult) -> list[str]:
    size = trial.batch_size
    own = result.own.batch_size if result.own is not None else None
    roles = {
        "fastest": result.fastest.batch_size if result.fastest is not None else None,
        _largest(result): result.largest_fitting,
        "power of two": result.friendly if result.friendly != result.largest_fitting else None,
        "the target's own": own,
    }
    return [role for role, at in roles.items() if at == size]


def _further_tables(result: BatchSizeResult) -> list[tuple[Sequence[str], list[Sequence[str]]]]:
    """What the size means for the learning rate, and how to reach the effective size."""
    found: list[tuple[Sequence[str], list[Sequence[str]]]] = []
    if result.own is not None and result.batch_size is not None:
        sizes = dict.fromkeys(size for size in (result.batch_size, result.largest_fitting) if size is not None)
        lines: list[Sequence[str]] = [
            (str(size), *_scaled(result.own.lr, size / result.own.batch_size))
            for size in (result.own.batch_size, *(s for s in sizes if s != result.own.batch_size))
        ]
        if len(lines) > 1:
            found.append((("learning rate at", "linear rule", "square-root rule"), lines))
    if result.estimate is not None:
        e = result.estimate
        kinds = {
            "parameters": e.parameter_bytes,
            "gradients": e.gradient_bytes,
            "optimizer state": e.optimizer_bytes,
            "activations a sample": e.activation_bytes_per_sample,
        }
        found.append((("estimated", "bytes"), [(name, format_bytes(held)) for name, held in kinds.items()]))
    if result.splits:
        ways: list[Sequence[str]] = [(str(s.batch_size), str(s.accumulate), str(s.processes)) for s in result.splits]
        found.append((("micro-batch", "x accumulation", "x processes"), ways))
    return found


def _scaled(lr: float | None, factor: float) -> tuple[str, ...]:
    """The rate by the linear and by the square-root rule; without a rate, the factors."""
    scales = (factor, math.sqrt(factor))
    return tuple(f"x {s:.3g}" if lr is None else format_lr(lr * s) for s in scales)


def _opening(record: BatchSizeRecord, result: BatchSizeResult) -> RenderableType:
    from rich.text import Text

    sure = result.batch_size is not None and record.status == "ok"
    text = Text().append(printable(headline(record)), style="bold" if sure else "bold yellow")
    lines = _reasons(result)
    if record.status == "interrupted":
        lines.append("The search was interrupted: this is what it had tried by then.")
    if record.status == "failed":
        lines = ["This is what it had tried by then."]
    for line in lines:
        text.append("\n" + printable(line))
    return text


def _evaluation(result: BatchSizeResult) -> RenderableType:
    from rich.text import Text

    size = "none fits" if result.batch_size is None else str(result.batch_size)
    text = Text().append(f"Evaluation, without gradients: {size}", style="bold")
    for line in _reasons(result):
        text.append("\n" + printable(line))
    return text


def _trials(result: BatchSizeResult, style: Style) -> Table:
    wide = style.width >= NOTED_WIDTH
    lines = table(
        style, "  size" if not wide else "  batch size", "outcome", "peak", "samples/s", *([""] if wide else [])
    )
    for size, outcome, peak, rate, note in trial_rows(result):
        chosen = size == str(result.batch_size)
        mark = ("▸" if style.unicode else ">") if chosen else " "
        add_row(lines, (f"{mark} {size}", outcome, peak, rate, *([note] if wide else [])), bold=chosen)
    for column in (lines.columns[2], lines.columns[3]):
        column.justify = "right"
    return lines


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], style: Style) -> Table:
    found = table(style, *head)
    for line in lines:
        add_row(found, line)
    for column in found.columns[1:]:
        column.justify = "right"
    return found
