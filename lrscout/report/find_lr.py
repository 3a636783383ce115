"""What find-lr found: as the text that a person reads, as the one answer of --quiet, and for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lrscout.formatting import format_lr, format_seconds
from lrscout.report.markdown import inline, markdown_table
from lrscout.report.tables import add_row, common_facts, fact_grid, rendered, table, unfinished
from lrscout.report.terminal import PAGE, Style, printable
from lrscout.results import LrRecord, LrResult, Probing, Suggestion, Use

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

USES: dict[Use, str] = {"decay": "the peak of a decaying schedule", "constant": "a constant rate"}
DESCRIBED_WIDTH = 60  # columns from which a rule's description has room beside its rate


def summary(record: LrRecord, style: Style) -> str:
    """The headline, why it can be trusted, what the other rules say, how the sweep went, and its plot."""
    from lrscout.report.lr_plot import plot_sweep

    result = record.result
    if result is None:
        return printable(headline(record))
    suggestion = result.suggestion
    blocks = [_opening(record, suggestion)]
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
    """The rate alone."""
    lr = record.result.suggestion.lr if record.result is not None else None
    return None if lr is None else f"{lr:.4g}"


def problem(record: LrRecord) -> str | None:
    """Why there is no answer."""
    if record.result is None or record.result.suggestion.lr is not None:
        return None
    return f"No learning rate suggested: {record.result.suggestion.reason}"


def rows(record: LrRecord) -> Iterator[Sequence[object]]:
    """The sweep's points, one a line, under their header."""
    yield "step", "lr", "loss", "smoothed_loss"
    for p in record.result.points if record.result is not None else ():
        yield p.step, float(p.lr), float(p.loss), float(p.smoothed_loss)


def markdown(record: LrRecord) -> list[str]:
    """Why the rate can be trusted, what the other rules say, and the plot, as blocks of Markdown."""
    from lrscout.report.lr_plot import plot_sweep

    result = record.result
    if result is None:
        return []
    blocks = [inline(line) for line in trust(result.suggestion)]
    usable = band(result.suggestion)
    blocks += [f"{usable.capitalize()}."] if usable else []
    if len(set(result.uses.values())) > 1:
        head, found = use_table(result)
        blocks.append(markdown_table(head, [(name, *rates) for name, rates, _ in found]))
    rules = [
        (f"**{inline(rule)}**" if chosen else inline(rule), rate, inline(description))
        for rule, rate, description, chosen in rule_rows(result)
    ]
    blocks.append(markdown_table(("rule", "learning rate", "what it is"), rules))
    if len(result.suggestion.groups) > 1:
        columns, groups = group_table(result.suggestion.groups, record.environment)
        blocks.append(markdown_table(columns, [[inline(cell) for cell in row] for row in groups]))
    return [*blocks, f"```text\n{plot_sweep(result, PAGE)}\n```"]


def band(suggestion: Suggestion) -> str | None:
    """The usable rates in words, or None where the rule gives no band."""
    low, high = suggestion.low, suggestion.high
    return None if low is None or high is None else f"usable from {format_lr(low)} to {format_lr(high)}"


def trust(suggestion: Suggestion) -> list[str]:
    """What the rate is for, how sure it is and why, a line each."""
    purpose = f"for {USES[suggestion.use]}" if suggestion.use is not None else ""
    sure = f"confidence {suggestion.confidence}" if suggestion.confidence is not None else ""
    doubts = f": {'; '.join(suggestion.doubts)}" if suggestion.doubts else ""
    told = ", ".join(filter(None, [purpose, sure])) + doubts if suggestion.lr is not None else ""
    return [line for line in (told, suggestion.reason) if line]


def use_table(result: LrResult, wide: bool = True) -> tuple[list[str], list[tuple[str, list[str], bool]]]:
    """The head with the lengths of training, and for every use its rate at each and whether it is the headline's.

    Not `wide`: only the length that was asked for.
    """
    head, columns = ["for", "learning rate"], [result.uses]
    if wide and len(result.by_length) > 1:
        steps = [f"{int(n):,}" if n.isdecimal() else n for n in result.by_length]
        head, columns = ["for trainings of", f"{steps[0]} steps", *steps[1:]], [*result.by_length.values()]
    rows = [
        (
            USES[use].removeprefix("the ").removeprefix("a "),
            [format_lr(lr) if (lr := column.get(use)) is not None else "none" for column in columns],
            use == result.suggestion.use,
        )
        for use in result.uses
    ]
    return head, rows


def stopped(result: LrResult, total: object) -> str:
    """Where and why the sweep ended; with the coarse sweep's steps, which it goes on counting."""
    if not result.points:
        return "stopped before the first step"
    last = result.points[-1]
    taken = len(result.coarse) + len(result.points)
    step = f"step {taken}" + (f" of {total}" if total is not None else "")
    where = f"{step}, lr {format_lr(last.lr)}"
    if result.stop_reason == "completed":
        return f"completed {where}"
    if result.stop_reason == "interrupted":
        return f"interrupted at {where}"
    why = "the loss diverged" if result.stop_reason == "diverged" else "the loss was not finite"
    return f"stopped at {where}: {why}"


def trained(found: Probing) -> str:
    """How many short trainings there were, and why."""
    return f"{len(found.probes)} of at most {max(probe.steps for probe in found.probes)} steps: {found.why}"


def facts(record: LrRecord) -> dict[str, str]:
    """How the sweep went, and on what: only what the record knows."""
    known: dict[str, object] = {}
    result = record.result
    if result is not None:
        known["sweep"] = stopped(result, record.settings.get("steps"))
        if result.coarse:
            swept = f"{format_lr(result.coarse[0].lr)} to {format_lr(result.coarse[-1].lr)}"
            known["sweep"] = f"{len(result.coarse)} coarse steps from {swept}; then {known['sweep']}"
        if result.probing is not None:
            known["trainings"] = trained(result.probing)
        if result.suggestion.confidence is not None:
            known["horizon"] = f"trainings of about {record.settings.get('horizon')} steps (--horizon)"
        known["time"] = format_seconds(result.seconds)
    known |= common_facts(record)
    return {name: printable(value) for name, value in known.items() if value not in (None, "")}


def rule_rows(result: LrResult) -> list[tuple[str, str, str, bool]]:
    """Every rule with its rate, what it is, and whether it is the headline: none is where nothing is suggested."""
    headed = result.suggestion.rule if result.suggestion.lr is not None else None
    return [
        (rule, format_lr(lr) if lr is not None else "none", describe(rule), rule == headed)
        for rule, lr in result.suggestions.items()
    ]


def group_table(rates: Sequence[float], environment: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The header and a row for each parameter group: its name, its size, and its rate now and as suggested.

    Records of versions that did not describe the groups have only the suggested rates.
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
    """What a rule's rate is: the first line of its docstring."""
    from lrscout.search.rules import RULES

    function: Callable[..., object] | None = RULES.get(rule)
    lines = ((function.__doc__ if function is not None else None) or "").strip().splitlines()
    return lines[0].removesuffix(".") if lines else ""


def _opening(record: LrRecord, suggestion: Suggestion) -> RenderableType:
    from rich.text import Text

    conclusive = suggestion.lr is not None and record.status not in ("inconclusive", "failed")
    text = Text().append(printable(headline(record)), style="bold" if conclusive else "bold yellow")
    lines = [*trust(suggestion), band(suggestion)]
    if record.status == "interrupted":
        lines.append("The search was interrupted: this is what it had seen by then.")
    if record.status == "failed":
        lines = ["This is what it had measured by then."]
    for line in filter(None, lines):
        text.append("\n" + printable(line))
    return text


def _uses(result: LrResult, style: Style) -> Table:
    """The rate for every use and length of training, the headline's marked."""
    (head, *lengths), rows = use_table(result, style.width >= PAGE.width)
    lines = table(style, f"  {head}", *lengths)
    for name, rates, chosen in rows:
        add_row(lines, (f"{_mark(style, chosen)} {name}", *rates), bold=chosen)
    for column in lines.columns[1:]:
        column.justify = "right"
    return lines


def _mark(style: Style, chosen: bool) -> str:
    return ("▸" if style.unicode else ">") if chosen else " "


def _rules(result: LrResult, style: Style) -> Table:
    """Every rule's rate, the headline's marked."""
    wide = style.width >= DESCRIBED_WIDTH
    lines = table(style, "  rule", "learning rate", *(["what it is"] if wide else []))
    for rule, rate, description, chosen in rule_rows(result):
        add_row(lines, (f"{_mark(style, chosen)} {rule}", rate, *([description] if wide else [])), bold=chosen)
    lines.columns[1].justify = "right"
    return lines


def _groups(rates: Sequence[float], environment: Mapping[str, Any], style: Style) -> Table:
    head, rows = group_table(rates, environment)
    lines = table(style, *head)
    for row in rows:
        add_row(lines, row)
    for column in lines.columns[1:]:
        column.justify = "right"
        column.no_wrap = style.width >= 40  # so that long names wrap and numbers do not
    return lines
