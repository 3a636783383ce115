"""The report of compare-schedulers: what leads to the answer, the answer, and the parts of the exports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lrscout.formatting import format_loss, format_lr, format_seconds
from lrscout.report.blocks import Block, TextPlot, TextTable
from lrscout.report.compare_plot import plot_schedules_losses
from lrscout.report.paste import schedule_lines, with_lines
from lrscout.report.tables import add_row, common_facts, fact_grid, stacked, table, unfinished
from lrscout.report.terminal import PAGE, Style
from lrscout.results import CompareRecord, CompareResult, Difference, FinalMetric, RankedSchedule
from lrscout.search.paired import MOST_VALUES, detectable, values_needed

FIVE_COLUMNS = 66  # columns of text from which all columns of the table fit
HEAD = ("schedule", "peak lr", "{metric}", "difference", "verdict")


def details(record: CompareRecord, style: Style) -> str:
    """What leads to the answer: facts, plots and the ranking."""
    result = record.result
    if result is None:
        return ""
    blocks: list[RenderableType] = [fact_grid(facts(record))]
    if result.ranking:
        blocks.append(plot_schedules_losses(result, style))
    if result.runs and style.verbose:
        blocks.append(_runs(result, style))
    if result.ranking:
        blocks.append(_ranking(result, style))
    return stacked(blocks, style)


def closing(record: CompareRecord, style: Style) -> str:
    """The answer in a sentence, and the lines to paste."""
    title = headline(record) if style.unicode else headline(record).replace("±", "+-")
    return title if record.result is None else with_lines(Text(title, style="bold"), schedule_lines(record), style)


def headline(record: CompareRecord) -> str:
    """The answer in one sentence."""
    result = record.result
    if result is None or record.status == "failed":
        return unfinished(record)
    sentence = _sentence(result)
    if record.status == "interrupted":
        return f"Interrupted; so far, {sentence}" if result.ranking else "Interrupted before any scored run finished"
    return sentence


def answer(record: CompareRecord) -> str | None:
    """The label of the best schedule."""
    result = record.result
    return result.ranking[0].label if result is not None and result.ranking and result.ranking[0].final else None


def problem(record: CompareRecord) -> str | None:
    """Why there is no best schedule, or None if there is one."""
    if record.result is None or answer(record) is not None:
        return None
    return headline(record)


def rows(record: CompareRecord) -> Iterator[Sequence[object]]:
    """A header, then the runs."""
    yield "schedule", "label", "seed", "peak_lr", "role", "status", "final", "best", "auc", "seconds"
    for r in record.result.runs if record.result is not None else ():
        yield r.schedule, r.label, r.seed, r.peak_lr, r.role, r.status, r.final, r.best, r.auc, r.seconds


def blocks(record: CompareRecord) -> list[Block]:
    """The ranking and the plots."""
    result = record.result
    if result is None or not result.ranking:
        return []
    ranking = TextTable(_head(result), [_cells(row, result) for row in result.ranking])
    return [ranking, TextPlot(plot_schedules_losses(result, PAGE))]


def facts(record: CompareRecord) -> dict[str, str]:
    """How the schedules were compared and what they ran on, as far as the record says."""
    known: dict[str, object] = {}
    if record.result is not None:
        known |= _method(record.result, record.settings)
        known["time"] = f"{format_seconds(record.result.seconds)} of training"
    known |= common_facts(record)
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def _method(result: CompareResult, settings: Mapping[str, object]) -> dict[str, object]:
    scored = sum(run.role == "score" for run in result.runs)
    tuning = len(result.runs) - scored
    runs = f"{scored} of {result.steps:,} steps" + (f", plus {tuning} to tune the rates" if tuning else "")
    tuned = "tuned per schedule"
    if result.center_lr is not None:
        tuned += f"; among equally good ones, the nearest to {format_lr(result.center_lr)}"
    rates = {"tune": tuned, "shared": "the same for all schedules (--lr-mode shared)"}
    pairs = "paired: the runs of a seed start alike" if result.paired else "not paired: runs start differently"
    has_interval = any(row.final is not None and row.final.low is not None for row in result.ranking)
    better = " (higher is better)" if result.metric.mode == "max" else ""
    pattern, measured = settings.get("metric_regex"), "averaged over the last 5% of each run"
    if pattern is not None:
        measured = f"the last match of {str(pattern)!r} in what the program prints"
    return {
        "runs": f"{runs}; {result.steps_total:,} steps in total",
        "metric": f"{result.metric.name}{better}, {measured}",
        "rates": rates.get(str(settings.get("lr_mode")), "those of the optimizer (--lr-mode fixed)"),
        "tied rates": _tied_rates(result),
        "interval": f"95%, Student's t over {result.seeds} seeds, {pairs}" if has_interval else None,
        "baseline": result.baseline,
        "sensitivity": _sensitivity(result),
    }


def _sensitivity(result: CompareResult) -> str | None:
    """The smallest difference that these runs could have told apart, and what the nearest tie would need."""
    compared = [
        (row, row.difference, (row.difference.high - row.difference.low) / 2, row.final.n)
        for row in result.ranking
        if row.difference is not None
        and row.difference.low is not None
        and row.difference.high is not None
        and row.final is not None
        and row.final.n >= 3
    ]
    if not compared:
        return None
    tests = len(compared)
    ties = [each for each in compared if each[0].verdict == "tie"]
    row, difference, half, n = (ties or sorted(compared, key=lambda each: -each[2]))[0]
    told = f"a difference of {format_loss(detectable(half, n, tests))} would be found with {n} seeds 4 times out of 5"
    if not ties or difference.mean == 0:
        return told
    needed = values_needed(difference.mean, half, n, tests)
    count = f"more than {MOST_VALUES:,}" if needed is None else f"about {needed:,}"
    return f"{told}; that of {_names(result)[row.label]}, {format_loss(abs(difference.mean))}, would need {count}"


def _tied_rates(result: CompareResult) -> str:
    """The range of rates as good as the best, for each schedule that has one."""
    names = _names(result)
    ranges = [(names[row.label], row.peak_lr_range) for row in result.ranking]
    return "; ".join(
        f"{name} {format_lr(found.low)} to {format_lr(found.high)}"
        for name, found in ranges
        if found is not None and found.low < found.high
    )


def _ranking(result: CompareResult, style: Style) -> Table:
    """The schedules in order, a line each; two where there is little room."""
    head, names = _head(result), _names(result)
    wide = style.width >= FIVE_COLUMNS
    lines = table(
        style,
        *(head if wide else [f"{head[0]}\n  {head[1]}", f"{head[2]}\n{head[3]}", head[4]]),
        left=(0, 4 if wide else 2),
    )
    for row in result.ranking:
        label, peak, final, difference, verdict = _cells(row, result, style.unicode)
        bold = row.verdict == "best"
        if wide:
            add_row(lines, (label, peak, final, difference, verdict), bold)
        else:
            add_row(lines, (names[label], final, verdict), bold)
            add_row(lines, (f"  {peak}", difference, ""), bold)
    return lines


def _runs(result: CompareResult, style: Style) -> Table:
    """Every run, in the order in which they began."""
    lines = table(style, "run", "peak lr", "final", "time", left=(0,))
    for run in result.runs:
        ended = run.status.replace("_", "-") if run.final is None else format_loss(run.final)
        began = "tuning" if run.role == "tune" else f"seed {run.seed}"
        add_row(lines, (f"{run.label} {began}", format_lr(run.peak_lr), ended, format_seconds(run.seconds)))
    return lines


def _head(result: CompareResult) -> list[str]:
    return [name.format(metric=result.metric.name.rpartition(":")[2]) for name in HEAD]


def _cells(row: RankedSchedule, result: CompareResult, unicode: bool = True) -> list[str]:
    final = "-" if row.final is None else plus_minus(row.final, unicode)
    difference = "" if row.difference is None else plus_minus(row.difference, unicode, signed=True)
    return [row.label, format_lr(row.peak_lr), final, difference, verdict_of(row, result)]


def verdict_of(row: RankedSchedule, result: CompareResult) -> str:
    """A verdict as shown in the table."""
    if row.verdict == "diverged":
        return f"{row.diverged}/{_scored(row, result)} diverged"
    return "too few runs" if row.verdict == "descriptive" else row.verdict


def plus_minus(value: FinalMetric | Difference, unicode: bool = True, signed: bool = False) -> str:
    """A mean ± half its interval, rounded to two significant digits of the interval."""
    sign = "+" if signed and value.mean > 0 else ""
    if value.low is None or value.high is None:
        return sign + format_loss(value.mean)
    half = (value.high - value.low) / 2
    if half == 0 or not 1e-6 < half < 1e6 or abs(value.mean) >= 1e6:
        return f"{sign}{format_loss(value.mean)} {'±' if unicode else '+-'} {format_loss(half)}"
    decimals = max(0, 1 - math.floor(math.log10(half)))
    return f"{sign}{value.mean:.{decimals}f} {'±' if unicode else '+-'} {half:.{decimals}f}"


def _sentence(result: CompareResult) -> str:
    """Which schedules are better, by how much, and which ones tie."""
    rows, names = result.ranking, _names(result)
    ended = [row.final for row in rows if row.final is not None]
    if not ended:
        return "no run finished"
    if any(row.verdict == "baseline" for row in rows):
        parts = _against_baseline(result, names)
    elif rows[0].verdict == "descriptive":
        first, extreme = names[rows[0].label], "highest" if result.metric.mode == "max" else "lowest"
        count = min(final.n for final in ended)  # an interrupted comparison may have fewer of some
        seeds = f"{count} seed{'s' if count > 1 else ''}"
        parts = [f"{first} has the {extreme} {result.metric.name}, but with {seeds} this may be chance"]
    else:
        parts = _against_best(rows, names)
    parts += [
        f"{names[row.label]} diverged in {row.diverged} of {_scored(row, result)} runs"
        for row in rows
        if row.verdict == "diverged"
    ]
    parts += [f"every run of {names[row.label]} failed" for row in rows if row.verdict == "failed"]
    return "; ".join(parts)


def _names(result: CompareResult) -> dict[str, str]:
    """The name of each label in a sentence: that of the schedule if it is unique, or the label."""
    known = [row.schedule for row in result.ranking]
    return {row.label: row.schedule if known.count(row.schedule) == 1 else row.label for row in result.ranking}


def _scored(row: RankedSchedule, result: CompareResult) -> int:
    return sum(run.role == "score" and run.label == row.label for run in result.runs)


def _against_best(rows: Sequence[RankedSchedule], names: Mapping[str, str]) -> list[str]:
    ahead = [names[row.label] for row in rows if row.verdict in ("best", "tie")]
    clean = [row for row in rows if row.verdict in ("best", "tie", "worse")]
    parts = []
    if len(ahead) > 1:
        parts.append(f"{_listed(ahead)} {'all tie' if len(ahead) == len(clean) > 2 else 'tie'}")
    elif ahead:
        parts.append(f"{ahead[0]} is best" if len(clean) > 1 else f"only {ahead[0]} never diverged")
    parts += [f"{names[row.label]} is worse by {_size(row)}" for row in rows if row.verdict == "worse"]
    return parts + [f"{names[row.label]} has too few runs to compare" for row in rows if row.verdict == "descriptive"]


def _against_baseline(result: CompareResult, names: Mapping[str, str]) -> list[str]:
    baseline = names[result.baseline or ""]
    parts = [
        f"{names[row.label]} is {row.verdict} than {baseline} by {_size(row)}"
        for row in result.ranking
        if row.verdict in ("better", "worse")
    ]
    ties = [names[row.label] for row in result.ranking if row.verdict == "tie"]
    if ties:
        parts.append(f"{_listed(ties)} {'tie' if len(ties) > 1 else 'ties'} with {baseline}")
    return parts or [f"no schedule could be compared with {baseline}"]


def _size(row: RankedSchedule) -> str:
    assert row.difference is not None  # only "better" and "worse" are given a size
    return plus_minus(row.difference).removeprefix("-")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
