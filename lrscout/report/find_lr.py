"""The report of find-lr: what leads to the answer, the answer, and the parts of the exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from lrscout.formatting import format_lr, format_seconds
from lrscout.report.blocks import Block, TextPlot, TextTable
from lrscout.report.lr_plot import plot_sweep
from lrscout.report.lr_tables import (
    OPTIMIZER_HEAD,
    USES,
    group_table,
    optimizer_rows,
    rate_or_none,
    rule_rows,
    searched_optimizers,
    use_table,
)
from lrscout.report.paste import rate_lines, with_lines
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
from lrscout.report.terminal import PAGE, Style
from lrscout.results import LrRecord, LrResult, Probing, Suggestion

DESCRIBED_WIDTH = 60  # columns from which the descriptions of the rules fit
NARROWEST = 40  # columns from which numbers are kept on one line


def details(record: LrRecord, style: Style) -> str:
    """What leads to the answer: facts, the plot and tables."""
    result = record.result
    if result is None:
        return ""
    known, groups = facts(record), result.suggestion.groups
    if result.suggestions and not style.verbose:
        known["rules"] = f"{_rates_of_rules(result)} (-v describes them)"
    blocks: list[RenderableType] = [fact_grid(known), *_plots(record, style)]
    if result.suggestions and style.verbose:
        blocks.append(_rules(result, style))
    if result.others:
        blocks.append(_filled(table(style, *OPTIMIZER_HEAD), optimizer_rows(record)))
    if len(groups) > 1:
        blocks.append(_groups(groups, record.environment, style))
    if len(set(result.uses.values())) > 1 and not result.others:
        blocks.append(_uses(result, style))
    return stacked(blocks, style)


def _plots(record: LrRecord, style: Style) -> list[str]:
    """The sweep, or that of each optimizer below its name."""
    result = record.result
    assert result is not None
    if not result.others:
        return [plot_sweep(result, style)]
    named = zip(searched_optimizers(record), result.of_each, strict=True)
    return [f"{label}\n\n{plot_sweep(each, style)}" for (label, *_), each in named]


def closing(record: LrRecord, style: Style) -> str:
    """The answer: the suggested rate and its reasons, and the lines to paste."""
    if record.result is None:
        return headline(record)
    found = answer_block(record, headline(record), _all_reasons(record), record.result.suggestion.lr is not None)
    return with_lines(found, rate_lines(record), style)


def headline(record: LrRecord) -> str:
    """The result in one line."""
    result = record.result
    if result is None or record.status == "failed":
        return unfinished(record)
    found = [each.suggestion for each in result.of_each]
    if record.status == "inconclusive" or all(suggestion.lr is None for suggestion in found):
        return "No learning rate suggested"
    if result.others:
        told = (f"{rate_or_none(suggestion)} ({label})" for label, _, suggestion in searched_optimizers(record))
        return f"Suggested learning rates: {', '.join(told)}"
    return f"Suggested learning rate: {rate_or_none(result.suggestion)}"


def answer(record: LrRecord) -> str | None:
    """The suggested rate alone; one a line where there are several parameter groups or optimizers."""
    if record.result is None:
        return None
    found = [result.suggestion for result in record.result.of_each]
    if all(suggestion.lr is None for suggestion in found):
        return None
    rates = [lr for each in found for lr in (each.groups if len(each.groups) > 1 else (each.lr,))]
    return "\n".join("none" if lr is None else f"{lr:.4g}" for lr in rates)


def problem(record: LrRecord) -> str | None:
    """Why there is no suggestion, or None if there is one for every optimizer."""
    if record.result is None:
        return None
    lacking = [
        (number, result.suggestion.reason)
        for number, result in enumerate(record.result.of_each, 1)
        if result.suggestion.lr is None
    ]
    if not lacking:
        return None
    if not record.result.others:
        return f"No learning rate suggested: {lacking[0][1]}"
    told = "; ".join(f"optimizer {number}: {reason}" for number, reason in lacking)
    return f"No learning rate suggested for {told}"


def rows(record: LrRecord) -> Iterator[Sequence[object]]:
    """A header, then the points of the sweep, or of the sweeps of all optimizers."""
    results = record.result.of_each if record.result is not None else ()
    several = len(results) > 1
    yield (*(["optimizer"] if several else []), "step", "lr", "loss", "smoothed_loss")
    for number, result in enumerate(results, 1):
        for p in result.points:
            yield (*([number] if several else []), p.step, float(p.lr), float(p.loss), float(p.smoothed_loss))


def blocks(record: LrRecord) -> list[Block]:
    """The reasons, the tables and the plot."""
    result = record.result
    if result is None:
        return []
    found: list[Block] = [*_all_reasons(record)]
    if result.others:
        found.append(TextTable(OPTIMIZER_HEAD, optimizer_rows(record)))
    if len(set(result.uses.values())) > 1 and not result.others:
        head, uses = use_table(result)
        found.append(TextTable(head, [(name, *rates) for name, rates, _ in uses]))
    rules = rule_rows(result)
    chosen = next((place for place, row in enumerate(rules) if row[3]), None)
    found.append(TextTable(("rule", "learning rate", "description"), [row[:3] for row in rules], chosen))
    if len(result.suggestion.groups) > 1:
        found.append(TextTable(*group_table(result.suggestion.groups, record.environment)))
    return [*found, *map(TextPlot, _plots(record, PAGE))]


def _all_reasons(record: LrRecord) -> list[str]:
    """The reasons for the rate, or for that of each optimizer in a line."""
    assert record.result is not None
    if not record.result.others:
        return reasons(record.result.suggestion)
    return [f"{label}: {' '.join(reasons(found))}" for label, _, found in searched_optimizers(record)]


def reasons(suggestion: Suggestion) -> list[str]:
    """What the rate is for, how certain it is, why, and which rates are usable: a sentence each."""
    low, high = suggestion.low, suggestion.high
    lines = [purpose(suggestion) if suggestion.lr is not None else "", suggestion.reason]
    lines.append(f"usable from {format_lr(low)} to {format_lr(high)}" if low is not None and high is not None else "")
    return [sentence(line) for line in lines if line]


def purpose(suggestion: Suggestion) -> str:
    """What the rate is for, and how certain it is."""
    parts = [f"for {USES[suggestion.use]}"] if suggestion.use is not None else []
    parts += [f"with {suggestion.confidence} confidence"] if suggestion.confidence is not None else []
    return ", ".join(parts) + (f": {'; '.join(suggestion.doubts)}" if suggestion.doubts else "")


def sweep_end(result: LrResult, total: object) -> str:
    """Where and why the sweep ended. Steps are counted from the start of the coarse sweep."""
    if not result.points:
        return "stopped before the first step"
    step = len(result.coarse) + len(result.points)
    place = f"step {step}" + (f" of {total}" if total is not None else "") + f", lr {format_lr(result.points[-1].lr)}"
    if result.stop_reason in ("completed", "interrupted"):
        return f"{result.stop_reason} at {place}"
    why = "the loss diverged" if result.stop_reason == "diverged" else "the loss was not finite"
    return f"stopped at {place}: {why}"


def facts(record: LrRecord) -> dict[str, str]:
    """How the sweep went and what it ran on, as far as the record says."""
    known: dict[str, object] = {}
    result = record.result
    if result is not None:
        known["sweep"] = sweep_end(result, record.settings.get("steps"))
        if result.coarse:
            swept = f"{format_lr(result.coarse[0].lr)} to {format_lr(result.coarse[-1].lr)}"
            known["sweep"] = f"{len(result.coarse)} coarse steps from {swept}, then a fine sweep: {known['sweep']}"
        if result.probing is not None and result.probing.probes:
            known["probes"] = _probes(result.probing)
        if result.suggestion.confidence is not None:
            given = f" ({result.length_from})" if result.length_from is not None else ""
            known["horizon"] = f"training for about {_count(record.settings.get('horizon'))} steps{given}"
        known["time"] = format_seconds(result.seconds)
    known |= common_facts(record)
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def _probes(probing: Probing) -> str:
    """How many short trainings were made, and why."""
    longest = max(probe.steps for probe in probing.probes)
    return f"{len(probing.probes)} short trainings of at most {longest:,} steps, because {probing.why}"


def _count(steps: object) -> str:
    return f"{steps:,}" if isinstance(steps, int) else str(steps)


def _rates_of_rules(result: LrResult) -> str:
    return ", ".join(f"{rule} {rate}" for rule, rate, _, _ in rule_rows(result))


def _uses(result: LrResult, style: Style) -> Table:
    """The rate for each use and length of training, with the suggested use marked."""
    (head, *lengths), rows = use_table(result, style.width >= PAGE.width)
    lines = table(style, f"  {head}", *lengths)
    for name, rates, chosen in rows:
        add_row(lines, (f"{_mark(style, chosen)} {name}", *rates), bold=chosen)
    lines.columns[0].no_wrap = style.width >= NARROWEST  # the header "learning rate" wraps instead
    return lines


def _mark(style: Style, chosen: bool) -> str:
    return ("▸" if style.unicode else ">") if chosen else " "


def _rules(result: LrResult, style: Style) -> Table:
    """The rate of each rule, with the suggested one marked."""
    wide = style.width >= DESCRIBED_WIDTH
    lines = table(style, "  rule", "learning rate", *(["description"] if wide else []), left=(0, 2))
    for rule, rate, description, chosen in rule_rows(result):
        add_row(lines, (f"{_mark(style, chosen)} {rule}", rate, *([description] if wide else [])), bold=chosen)
    return lines


def _groups(rates: Sequence[float], environment: Mapping[str, Any], style: Style) -> Table:
    """The parameter groups with their rates."""
    head, rows = group_table(rates, environment)
    lines = _filled(table(style, *head), rows)
    for column in lines.columns[1:]:
        column.no_wrap = style.width >= NARROWEST  # long names wrap instead
    return lines


def _filled(lines: Table, rows: Sequence[Sequence[str]]) -> Table:
    for row in rows:
        add_row(lines, row)
    return lines
