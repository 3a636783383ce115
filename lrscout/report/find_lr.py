"""The report of find-lr: the summary, the answer for --quiet, and the parts of the exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from lrscout.formatting import format_lr, format_seconds
from lrscout.report.lr_plot import plot_sweep
from lrscout.report.markdown import inline, markdown_table
from lrscout.report.tables import add_row, common_facts, fact_grid, opening, rendered, sentence, table, unfinished
from lrscout.report.terminal import PAGE, Style, printable
from lrscout.results import LrRecord, LrResult, Probing, Suggestion, Use

USES: dict[Use, str] = {"decay": "the peak of a decaying schedule", "constant": "a constant rate"}
DESCRIBED_WIDTH = 60  # columns from which the descriptions of the rules fit
NARROWEST = 40  # columns from which numbers are kept on one line


def summary(record: LrRecord, style: Style) -> str:
    """Everything a person reads: the suggestion and its reasons, tables, facts and the plot."""
    result = record.result
    if result is None:
        return printable(headline(record))
    suggestion = result.suggestion
    blocks: list[RenderableType] = [opening(record, headline(record), reasons(suggestion), suggestion.lr is not None)]
    if len(set(result.uses.values())) > 1:
        blocks.append(_uses(result, style))
    if result.suggestions:
        blocks.append(_rules(result, style))
    if len(suggestion.groups) > 1:
        blocks.append(_groups(suggestion.groups, record.environment, style))
    blocks.append(fact_grid(facts(record)))
    text = "\n\n".join(rendered(block, style) for block in blocks)
    return f"{text}\n\n{plot_sweep(result, style)}"


def headline(record: LrRecord) -> str:
    """The result in one line."""
    result = record.result
    if result is None or record.status == "failed":
        return unfinished(record)
    lr = result.suggestion.lr
    if lr is None or record.status == "inconclusive":
        return "No learning rate suggested"
    return f"Suggested learning rate: {format_lr(lr)}"


def answer(record: LrRecord) -> str | None:
    """The suggested rate alone."""
    lr = record.result.suggestion.lr if record.result is not None else None
    return None if lr is None else f"{lr:.4g}"


def problem(record: LrRecord) -> str | None:
    """Why there is no suggestion, or None if there is one."""
    if record.result is None or record.result.suggestion.lr is not None:
        return None
    return f"No learning rate suggested: {record.result.suggestion.reason}"


def rows(record: LrRecord) -> Iterator[Sequence[object]]:
    """A header, then the points of the sweep."""
    yield "step", "lr", "loss", "smoothed_loss"
    for p in record.result.points if record.result is not None else ():
        yield p.step, float(p.lr), float(p.loss), float(p.smoothed_loss)


def markdown(record: LrRecord) -> list[str]:
    """The reasons, the tables and the plot as blocks of Markdown."""
    result = record.result
    if result is None:
        return []
    blocks = [inline(line) for line in reasons(result.suggestion)]
    if len(set(result.uses.values())) > 1:
        head, uses = use_table(result)
        blocks.append(markdown_table(head, [(name, *rates) for name, rates, _ in uses]))
    rules = [
        (f"**{inline(rule)}**" if chosen else inline(rule), rate, inline(description))
        for rule, rate, description, chosen in rule_rows(result)
    ]
    blocks.append(markdown_table(("rule", "learning rate", "description"), rules))
    if len(result.suggestion.groups) > 1:
        head, groups = group_table(result.suggestion.groups, record.environment)
        blocks.append(markdown_table(head, [[inline(cell) for cell in row] for row in groups]))
    return [*blocks, f"```text\n{plot_sweep(result, PAGE)}\n```"]


def reasons(suggestion: Suggestion) -> list[str]:
    """What the rate is for, how certain it is, why, and which rates are usable: a sentence each."""
    low, high = suggestion.low, suggestion.high
    lines = [_purpose(suggestion) if suggestion.lr is not None else "", suggestion.reason]
    lines.append(f"usable from {format_lr(low)} to {format_lr(high)}" if low is not None and high is not None else "")
    return [sentence(line) for line in lines if line]


def _purpose(suggestion: Suggestion) -> str:
    parts = [f"for {USES[suggestion.use]}"] if suggestion.use is not None else []
    parts += [f"with {suggestion.confidence} confidence"] if suggestion.confidence is not None else []
    return ", ".join(parts) + (f": {'; '.join(suggestion.doubts)}" if suggestion.doubts else "")


def use_table(result: LrResult, wide: bool = True) -> tuple[list[str], list[tuple[str, list[str], bool]]]:
    """The header, and for each use its name, its rates by length of training, and whether it is the suggested one.

    Unless `wide`, only the requested length of training is included.
    """
    head, columns = ["used as", "learning rate"], [result.uses]
    if wide and len(result.by_length) > 1:
        steps = [f"{int(n):,}" if n.isdecimal() else n for n in result.by_length]
        head, columns = ["training for", f"{steps[0]} steps", *steps[1:]], [*result.by_length.values()]
    rows = [
        (
            USES[use].removeprefix("the ").removeprefix("a "),
            [format_lr(lr) if (lr := column.get(use)) is not None else "none" for column in columns],
            use == result.suggestion.use,
        )
        for use in result.uses
    ]
    return head, rows


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
            known["horizon"] = f"training for about {_count(record.settings.get('horizon'))} steps (--horizon)"
        known["time"] = format_seconds(result.seconds)
    known |= common_facts(record)
    return {name: printable(value) for name, value in known.items() if value not in (None, "")}


def _probes(probing: Probing) -> str:
    """How many short trainings were made, and why."""
    longest = max(probe.steps for probe in probing.probes)
    return f"{len(probing.probes)} short trainings of at most {longest:,} steps, because {probing.why}"


def _count(steps: object) -> str:
    return f"{steps:,}" if isinstance(steps, int) else str(steps)


def rule_rows(result: LrResult) -> list[tuple[str, str, str, bool]]:
    """For each rule its name, its rate, its description, and whether the suggestion comes from it."""
    chosen = result.suggestion.rule if result.suggestion.lr is not None else None
    return [
        (rule, format_lr(lr) if lr is not None else "none", describe(rule), rule == chosen)
        for rule, lr in result.suggestions.items()
    ]


def group_table(rates: Sequence[float], environment: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The header, and for each parameter group its name, its size, and its rate now and as suggested.

    Records written by versions that did not describe the groups have only the suggested rates.
    """
    groups = environment.get("groups") or ()
    if len(groups) != len(rates):
        return ["group", "learning rate"], [[str(index), format_lr(lr)] for index, lr in enumerate(rates)]
    return ["group", "parameters", "learning rate"], [
        [
            group["name"] or str(index),
            f"{group['parameters']:,}",
            f"{format_lr(group['lr'])} -> {format_lr(lr)}",
        ]
        for index, (group, lr) in enumerate(zip(groups, rates))
    ]


def describe(rule: str) -> str:
    """The description of a rule: the first line of its docstring."""
    from lrscout.search.rules import RULES

    function: Callable[..., object] | None = RULES.get(rule)
    lines = ((function.__doc__ if function is not None else None) or "").strip().splitlines()
    return lines[0].removesuffix(".") if lines else ""


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
    lines = table(style, *head)
    for row in rows:
        add_row(lines, row)
    for column in lines.columns[1:]:
        column.no_wrap = style.width >= NARROWEST  # long names wrap instead
    return lines
