"""What a comparison of schedules found: as the text that a person reads, and for other programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from lrscout.formatting import format_clock, format_loss, format_lr, format_seconds
from lrscout.report.markdown import inline, markdown_table
from lrscout.report.tables import add_row, common_facts, fact_grid, rendered, table, unfinished
from lrscout.report.terminal import PAGE, Style, printable
from lrscout.results import ComparedRun, CompareRecord, CompareResult, Difference, FinalMetric, RankedSchedule

FIVE_COLUMNS = 66  # columns of text from which the table has room for all of its own
HEAD = ("schedule", "peak rate", "{metric}", "difference", "verdict")


def summary(record: CompareRecord, style: Style) -> str:
    """The sentence that answers, the ranking, how it was found, and every schedule's loss."""
    from rich.text import Text

    from lrscout.report.compare_plot import plot_schedules_losses

    result, told = record.result, printable(headline(record))
    told = told if style.unicode else told.replace("±", "+-")
    if result is None:
        return told
    texts = [rendered(Text(told, style="bold"), style)]
    if result.ranking:
        texts.append(_ranking(result, style))
    texts.append(rendered(fact_grid(facts(record)), style))
    if result.ranking:
        texts.append(plot_schedules_losses(result, style))
    return "\n\n".join(texts)


def headline(record: CompareRecord) -> str:
    """The answer in one sentence."""
    result = record.result
    if result is None or record.status == "failed":
        return unfinished(record)
    sentence = _sentence(result)
    if record.status == "interrupted":
        return f"Interrupted, and so far: {sentence}" if result.ranking else "Interrupted before any score."
    return sentence


def answer(record: CompareRecord) -> str | None:
    """The schedule that ranks first."""
    result = record.result
    return result.ranking[0].label if result is not None and result.ranking and result.ranking[0].final else None


def problem(record: CompareRecord) -> str | None:
    """Why there is no answer."""
    if record.result is None or answer(record) is not None:
        return None
    return headline(record)


def rows(record: CompareRecord) -> Iterator[Sequence[object]]:
    """The runs, one a line, under their header."""
    yield "schedule", "label", "seed", "peak_lr", "role", "status", "final", "best", "auc", "seconds"
    for r in record.result.runs if record.result is not None else ():
        yield r.schedule, r.label, r.seed, r.peak_lr, r.role, r.status, r.final, r.best, r.auc, r.seconds


def markdown(record: CompareRecord) -> list[str]:
    """The ranking and the plots, as blocks of Markdown."""
    from lrscout.report.compare_plot import plot_schedules_losses

    result = record.result
    if result is None or not result.ranking:
        return []
    table = markdown_table(_head(result), [[inline(cell) for cell in _cells(row, result)] for row in result.ranking])
    return [table, f"```text\n{plot_schedules_losses(result, PAGE)}\n```"]


def facts(record: CompareRecord) -> dict[str, str]:
    """How it was found, and on what."""
    known: dict[str, object] = {}
    if record.result is not None:
        known |= _method(record.result, record.settings.get("lr_mode"))
        known["time"] = f"{format_seconds(record.result.seconds)} of training"
    known |= common_facts(record)
    return {name: printable(value) for name, value in known.items() if value not in (None, "")}


def run_line(run: ComparedRun, done: int, total: int, seconds_left: float | None) -> str:
    """A finished run in one line of a log."""
    told = f"{format_loss(run.final)}" if run.final is not None else run.status.replace("_", "-")
    seed = "tuning" if run.role == "tune" else f"seed {run.seed}"
    left = "" if seconds_left is None else f"  {format_clock(seconds_left)} left"
    begin = f"run {done:>{len(str(total))}}/{total}  {printable(run.label)}"
    return f"{begin}  {seed}  lr {format_lr(run.peak_lr)}  {told}  {format_seconds(run.seconds)}{left}"


def _method(result: CompareResult, lr_mode: object) -> dict[str, object]:
    scores = sum(run.role == "score" for run in result.runs)
    tuning = len(result.runs) - scores
    runs = f"{scores} of {result.steps} steps" + (f", and {tuning} to tune" if tuning else "")
    window = "the mean of the last 5 % of a run"
    near = "" if result.center_lr is None else f", the nearest to {format_lr(result.center_lr)} within the noise"
    rates = {"tune": f"each schedule's own{near}", "shared": "this compares schedules at one rate"}
    how = "paired: a seed's runs began alike" if result.paired else "not paired: runs began differently"
    told = any(row.final is not None and row.final.low is not None for row in result.ranking)
    return {
        "runs": f"{runs}; {result.steps_total} steps in all",
        "metric": f"{result.metric.name}, {window}" + (", more is better" if result.metric.mode == "max" else ""),
        "rates": rates.get(str(lr_mode), "this compares schedules at the optimizer's own rate"),
        "as good": _as_good(result),
        "interval": f"95 %, Student's t over {result.seeds} seeds, {how}" if told else None,
        "baseline": result.baseline,
    }


def _as_good(result: CompareResult) -> str:
    """The rates that the tuning could not tell from each other, of the schedules that have several."""
    names = _names(result)
    ranges = [(names[row.label], row.peak_lr_range) for row in result.ranking]
    return "; ".join(
        f"{name} at {format_lr(found.low)} to {format_lr(found.high)}"
        for name, found in ranges
        if found is not None and found.low < found.high
    )


def _ranking(result: CompareResult, style: Style) -> str:
    wide = style.width >= FIVE_COLUMNS
    shown = range(5) if wide else (0, 2, 4)
    head = _head(result)
    lines = table(style, *(head[i] for i in shown))
    for row in result.ranking:
        cells = _cells(row, result, style.unicode)
        add_row(lines, [cells[i] for i in shown], bold=row.verdict == "best")
    for place, i in enumerate(shown):
        lines.columns[place].justify = "right" if i in (1, 2, 3) else "left"
    return rendered(lines, style)


def _head(result: CompareResult) -> list[str]:
    return [name.format(metric=printable(result.metric.name.rpartition(":")[2])) for name in HEAD]


def _cells(row: RankedSchedule, result: CompareResult, unicode: bool = True) -> list[str]:
    final = "-" if row.final is None else plus_minus(row.final, unicode)
    difference = "" if row.difference is None else plus_minus(row.difference, unicode, signed=True)
    return [row.label, format_lr(row.peak_lr), final, difference, verdict_of(row, result)]


def verdict_of(row: RankedSchedule, result: CompareResult) -> str:
    """A verdict as the table shows it."""
    if row.verdict == "diverged":
        return f"{row.diverged}/{_scored(row, result)} diverged"
    return "descriptive only" if row.verdict == "descriptive" else row.verdict


def plus_minus(value: FinalMetric | Difference, unicode: bool = True, signed: bool = False) -> str:
    """A mean with half its interval, both to the digits that the interval leaves meaning."""
    sign = "+" if signed and value.mean > 0 else ""
    if value.low is None or value.high is None:
        return sign + format_loss(value.mean)
    half = (value.high - value.low) / 2
    if half == 0 or not 1e-6 < half < 1e6 or abs(value.mean) >= 1e6:
        return f"{sign}{format_loss(value.mean)} {'±' if unicode else '+-'} {format_loss(half)}"
    decimals = max(0, 1 - math.floor(math.log10(half)))
    return f"{sign}{value.mean:.{decimals}f} {'±' if unicode else '+-'} {half:.{decimals}f}"


def _sentence(result: CompareResult) -> str:
    """Which schedule is better, by how much, and whether the difference is real."""
    rows, names = result.ranking, _names(result)
    ended = [row.final for row in rows if row.final is not None]
    if not ended:
        return "no run of any schedule came to its end"
    if any(row.verdict == "baseline" for row in rows):
        parts = _against_baseline(result, names)
    elif rows[0].verdict == "descriptive":
        least, count = "highest" if result.metric.mode == "max" else "lowest", max(final.n for final in ended)
        seeds = f"{count} seed{'s' if count > 1 else ''}"
        parts = [f"{names[rows[0].label]} has the {least} {result.metric.name}, but with {seeds} that may be chance"]
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
    """What to call each label in a sentence: the schedule's name, where only one has it."""
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
    return parts + [f"{names[row.label]} has too few runs to tell" for row in rows if row.verdict == "descriptive"]


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
    return parts or [f"nothing can be said against {baseline}"]


def _size(row: RankedSchedule) -> str:
    assert row.difference is not None  # only "better" and "worse" are given a size
    return plus_minus(row.difference).removeprefix("-")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
