"""The report of find-batch-size: what leads to the answer, the answer, and the parts of the exports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lrscout.formatting import format_bytes, format_seconds
from lrscout.report.batch_size_memory import estimate_table, memory_tables
from lrscout.report.batch_size_plot import plot_trials
from lrscout.report.batch_size_rate import rate_lines, rate_table
from lrscout.report.batch_size_table import COLUMNS, largest_name, size_head, size_rows, size_table, size_values
from lrscout.report.blocks import Block, TextPlot, TextTable
from lrscout.report.loading import Rows, loading_lines, loading_table
from lrscout.report.tables import (
    add_row,
    answer_block,
    common_facts,
    fact_grid,
    sentence,
    stacked,
    table,
    unfinished,
)
from lrscout.report.terminal import PAGE, Style, printable
from lrscout.results import (
    BatchSizeRecord,
    BatchSizeResult,
    BatchStopReason,
    GradientNoise,
    NoiseMoment,
    Outcome,
)
from lrscout.search.noise import EPOCH_STEPS, RESOLVED

STOPPED: dict[BatchStopReason, str] = {
    "out_of_memory": "size {least} does not fit",
    "dataset": "stopped at the size of the dataset",
    "max": "stopped at the largest size to try (--max)",
    "throughput": "stopped because throughput no longer rises; larger sizes were not tried",
    "timeout": "size {least} timed out",
    "unstable": "stopped because memory grows with every step",
    "failed": "stopped by an error",
    "interrupted": "interrupted",
    "estimate": "estimated from shapes; nothing was run",
    "too_few_steps": "the program ends too early at size {least}",
    "capped": "the program does not follow size {least}",
    "refused": "the program fails at size {least}, and not for memory",
}
FAILURES: dict[BatchStopReason, tuple[Outcome, ...]] = {
    "out_of_memory": ("out_of_memory", "killed"),
    "timeout": ("timeout",),
    "too_few_steps": ("too_few_steps",),
    "capped": ("capped",),
    "refused": ("refused",),
}
"""The outcomes that ended a search for a reason; the smallest size that had one is named."""


def details(record: BatchSizeRecord, style: Style) -> str:
    """What leads to the answer: facts, plots and tables."""
    result = record.result
    if result is None:
        return ""
    blocks: list[RenderableType] = [fact_grid(facts(record))]
    if _can_plot(result):
        blocks.append(plot_trials(result, style))
    if result.trials:
        blocks.append(size_table(result, style))
    if result.evaluation is not None:
        blocks.append(size_table(result.evaluation, style))
    further = [*(memory_tables(result) if style.verbose else ()), *_further_tables(result)]
    return stacked([*blocks, *(_table(head, lines, style) for head, lines in further)], style)


def closing(record: BatchSizeRecord, style: Style) -> str:
    """The answer: the recommended size and its reasons; those for evaluation, if asked for, below it."""
    result = record.result
    if result is None:
        return printable(headline(record))
    blocks = [answer_block(record, headline(record), reasons(result), result.answer is not None)]
    if result.evaluation is not None:
        blocks.append(_evaluation(result.evaluation))
    return stacked(blocks, style)


def headline(record: BatchSizeRecord) -> str:
    """The result in one line."""
    result = record.result
    if result is None or record.status == "failed":
        return unfinished(record)
    if result.estimate is not None:
        if result.answer is None:
            return "By estimate, no batch size fits"
        return f"Estimated batch size: {'about ' * (result.estimate.limited_by == 'memory')}{result.answer}"
    if result.stop_reason == "interrupted":
        return f"Interrupted: {_ran(result)}"
    size = result.batch_size
    if size is None:
        return "No batch size recommended"
    shares = _shares(result)
    return f"Recommended batch size: {size}{f' ({shares})' if shares else ''}"


def _ran(result: BatchSizeResult) -> str:
    largest = max((trial.batch_size for trial in result.trials if trial.outcome == "fits"), default=None)
    return "no size had run yet" if largest is None else f"sizes up to {largest} ran"


def _shares(result: BatchSizeResult) -> str:
    """What the recommended size means where a rank's share differs from it; empty where it does not."""
    trial = result.trial_of(result.batch_size)
    if trial is None or result.ranks is None:
        return ""
    at_once, samples = trial.micro_batch, trial.samples
    if at_once is None or samples is None:
        return f"as the program counts it, on {result.ranks} ranks" if result.ranks > 1 else ""
    if result.ranks == 1:
        return "" if samples == at_once == trial.batch_size else f"{at_once} at once, {samples} in a step"
    if samples == at_once * result.ranks:
        return f"{at_once} per rank, {samples} in all on {result.ranks} ranks"
    return f"{at_once} at once per rank, {samples} in a step on {result.ranks} ranks"


def answer(record: BatchSizeRecord) -> str | None:
    """The recommended size alone, or the estimated one."""
    size = record.result.answer if record.result is not None else None
    return None if size is None else str(size)


def problem(record: BatchSizeRecord) -> str | None:
    """Why there is no recommendation and no estimate, or what was interrupted; None if neither."""
    if record.result is None:
        return None
    if record.result.stop_reason == "interrupted":
        return f"{headline(record)}."
    evaluation = record.result.evaluation
    if evaluation is not None and evaluation.stop_reason == "interrupted":
        return f"{_evaluated(evaluation)}."
    if record.result.answer is not None:
        return None
    return f"{headline(record)}: {record.result.reason.removesuffix('.')}."


def rows(record: BatchSizeRecord) -> Iterator[Sequence[object]]:
    """A header, then the sizes that were tried or timed."""
    yield COLUMNS
    yield from size_values(record.result) if record.result is not None else ()


def blocks(record: BatchSizeRecord) -> list[Block]:
    """The reasons, the tables and the plots."""
    result = record.result
    if result is None:
        return []
    found: list[Block] = [*reasons(result)]
    trials = [(size_head(result), size_rows(result))] if result.trials else []
    found += [TextTable(*table) for table in [*trials, *_further_tables(result)]]
    if result.evaluation is not None:
        found.append(" ".join([f"{_evaluated(result.evaluation)}.", *reasons(result.evaluation)]))
        found.append(TextTable(size_head(result.evaluation), size_rows(result.evaluation)))
    return [*found, TextPlot(plot_trials(result, PAGE))] if _can_plot(result) else found


def _can_plot(result: BatchSizeResult) -> bool:
    return sum(trial.outcome == "fits" for trial in result.trials) > 1


def search_end(result: BatchSizeResult) -> str:
    """How many trials were made, and why the search ended."""
    failures = FAILURES.get(result.stop_reason, ())
    least = min((t.batch_size for t in result.trials if t.outcome in failures), default=None)
    reason = STOPPED.get(result.stop_reason, result.stop_reason).format(least=least)
    if result.stop_reason == "estimate":
        return reason
    return f"{result.mode} mode, {len(result.trials)} trial{'s' * (len(result.trials) != 1)}: {reason}"


def facts(record: BatchSizeRecord) -> dict[str, str]:
    """How the search went and what it ran on, as far as the record says."""
    known: dict[str, object] = {}
    result = record.result
    if result is not None:
        known["search"] = search_end(result)
        known["time"] = format_seconds(result.seconds) if result.trials else None
        model = result.memory_model
        if model is not None:
            base = f"{format_bytes(model.base_bytes)} + " if model.base_bytes > 0 else ""  # a fit may be below 0 at 0
            known["memory"] = f"{base}{format_bytes(model.bytes_per_sample)} per sample"
            if result.estimate is None:
                known["memory"] = f"{known['memory']}, accurate to {model.fit_error:.1%}"
        known["noise scale"] = noise_text(result.noise, result.dataset_size)
        if result.budget_bytes is not None:
            known["budget"] = f"{format_bytes(result.budget_bytes)}, {result.margin:.0%} kept free"
        known["dataset"] = None if result.dataset_size is None else f"{result.dataset_size:,} samples"
    known |= common_facts(record)
    return {name: printable(value) for name, value in known.items() if value not in (None, "")}


def noise_text(noise: GradientNoise | None, dataset: int | None) -> str | None:
    """The noise scale at the first and the last moment that it was measured at."""
    if noise is None:
        return None
    moments = dict.fromkeys((noise.moments[0], noise.moments[-1]))
    told = ", ".join(f"{_samples(moment)} after {moment.step} steps" for moment in moments)
    if dataset is not None and noise.scale == dataset / EPOCH_STEPS:
        return f"{told}; taken to be at most 1/{EPOCH_STEPS} of the dataset"
    return f"{told}; it usually grows in training, and larger batches pay later on" if len(moments) > 1 else told


def _samples(moment: NoiseMoment) -> str:
    return (
        f"more than {RESOLVED * moment.samples:,.0f} samples"
        if moment.noise is None
        else f"{moment.noise:,.0f} samples"
    )


def reasons(result: BatchSizeResult) -> list[str]:
    """Why this size is recommended, and the largest one that fits: a sentence each."""
    lines = [result.reason] if result.reason else []
    trial = result.trial_of(result.largest_fitting)
    if trial is not None and result.batch_size is not None:
        line = f"the {largest_name(result)} is {trial.batch_size}"
        if trial.peak_bytes is not None and result.budget_bytes is not None:
            spare = format_bytes(max(0, result.budget_bytes - trial.peak_bytes))
            line += f", using {format_bytes(trial.peak_bytes)} of {format_bytes(result.budget_bytes)} ({spare} free)"
        lines.append(line)
    return [sentence(line) for line in [*lines, *loading_lines(result), *rate_lines(result)]]


def _further_tables(result: BatchSizeResult) -> list[tuple[Sequence[str], Rows]]:
    """Times of the loader, the learning rate, the estimate, and ways to reach the effective batch size."""
    found = [*loading_table(result), *rate_table(result)]
    if result.estimate is not None:
        found.append(estimate_table(result.estimate))
    if result.splits:
        ways = [(str(s.batch_size), str(s.accumulate), str(s.processes)) for s in result.splits]
        found.append((("micro-batch", "x accumulation", "x processes"), ways))
    return found


def _evaluated(result: BatchSizeResult) -> str:
    size = "none fits" if result.batch_size is None else str(result.batch_size)
    if result.stop_reason == "interrupted":
        size = f"interrupted, {_ran(result)}"
    return f"Batch size for evaluation, without gradients: {size}"


def _evaluation(result: BatchSizeResult) -> Text:
    text = Text().append(_evaluated(result), style="bold")
    return text.append("".join("\n" + printable(line) for line in reasons(result)))


def _table(head: Sequence[str], lines: Rows, style: Style) -> Table:
    found = table(style, *head)
    for line in lines:
        add_row(found, line)
    return found
