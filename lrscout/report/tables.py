"""What find-lr found, as the text that a person reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from lrscout.report.numbers import format_lr, format_seconds
from lrscout.report.terminal import Style, printable, trim
from lrscout.results import LrResult, RunRecord, Suggestion

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["describe", "facts", "format_lr", "headline", "rule_rows", "stopped", "summary"]


DESCRIBED_WIDTH = 60  # columns from which a rule's description has room beside its rate


def summary(record: RunRecord, style: Style) -> str:
    """The headline, why it can be trusted, what the other rules say, and how the sweep went."""
    result = record.result
    if result is None:
        return printable(headline(record))
    suggestion = result.suggestion
    blocks = [_opening(record, suggestion)]
    if result.suggestions:
        blocks.append(_rules(result, style))
    if len(suggestion.groups) > 1:
        blocks.append(_groups(suggestion.groups, record.environment, style))
    blocks.append(_facts(record))
    return "\n\n".join(_rendered(block, style) for block in blocks)


def headline(record: RunRecord) -> str:
    """The result in one line."""
    if record.result is None:
        ended = "was interrupted" if record.status == "interrupted" else "failed"
        return f"{record.command} {ended} before there was a result."
    if record.status == "failed":
        return f"The run failed: {record.error}" if record.error else "The run failed"
    lr = record.result.suggestion.lr
    if lr is None or record.status == "inconclusive":
        return "No learning rate suggested"
    return f"Suggested learning rate: {format_lr(lr)}"


def band(suggestion: Suggestion) -> str | None:
    """The usable rates in words, or None where the rule gives no band."""
    low, high = suggestion.low, suggestion.high
    return None if low is None or high is None else f"usable from {format_lr(low)} to {format_lr(high)}"


def stopped(result: LrResult, total: object) -> str:
    """Where and why the sweep ended."""
    if not result.points:
        return "stopped before the first step"
    last = result.points[-1]
    step = f"step {result.steps}" + (f" of {total}" if total is not None else "")
    where = f"{step}, lr {format_lr(last.lr)}"
    if result.stop_reason == "completed":
        return f"completed {where}"
    if result.stop_reason == "interrupted":
        return f"interrupted at {where}"
    why = "the loss diverged" if result.stop_reason == "diverged" else "the loss was not finite"
    return f"stopped at {where}: {why}"


def facts(record: RunRecord) -> dict[str, str]:
    """How the sweep went, and on what: only what the record knows."""
    result, environment = record.result, record.environment
    known: dict[str, object] = {}
    if result is not None:
        known["sweep"] = stopped(result, record.settings.get("steps"))
        known["time"] = format_seconds(result.seconds)
    known["target"] = record.target.get("path")
    known["optimizer"] = environment.get("optimizer") or record.settings.get("optimizer")
    known["device"] = environment.get("device") or record.settings.get("device")
    if environment.get("device_name") and not str(known["device"]).startswith("cpu"):
        known["device"] = f"{known['device']} ({environment['device_name']})"
    return {name: printable(value) for name, value in known.items() if value not in (None, "")}


def rule_rows(result: LrResult) -> list[tuple[str, str, str, bool]]:
    """Every rule with its rate, what it is, and whether it is the headline: none is where nothing is suggested."""
    headed = result.suggestion.rule if result.suggestion.lr is not None else None
    return [
        (rule, format_lr(lr) if lr is not None else "none", describe(rule), rule == headed)
        for rule, lr in result.suggestions.items()
    ]


def describe(rule: str) -> str:
    """What a rule's rate is: the first line of its docstring."""
    from lrscout.search.suggestion import RULES

    function: Callable[..., object] | None = RULES.get(rule)
    lines = ((function.__doc__ if function is not None else None) or "").strip().splitlines()
    return lines[0].removesuffix(".") if lines else ""


def _opening(record: RunRecord, suggestion: Suggestion) -> RenderableType:
    from rich.text import Text

    conclusive = suggestion.lr is not None and record.status not in ("inconclusive", "failed")
    text = Text().append(printable(headline(record)), style="bold" if conclusive else "bold yellow")
    lines = [suggestion.reason, band(suggestion)]
    if record.status == "interrupted":
        lines.append("The sweep was interrupted: this is what it had seen by then.")
    if record.status == "failed":
        lines = ["This is what it had measured by then."]
    for line in filter(None, lines):
        text.append("\n" + printable(line))
    return text


def _rules(result: LrResult, style: Style) -> Table:
    """Every rule's rate, the headline's marked."""
    wide = style.width >= DESCRIBED_WIDTH
    table = _table(style, "  rule", "learning rate", *(["what it is"] if wide else []))
    for rule, rate, description, chosen in rule_rows(result):
        mark = ("▸" if style.unicode else ">") if chosen else " "
        _add_row(table, (f"{mark} {rule}", rate, *([description] if wide else [])), bold=chosen)
    table.columns[1].justify = "right"
    return table


def _groups(rates: Sequence[float], environment: Mapping[str, Any], style: Style) -> Table:
    """The suggested rate of every parameter group, under the group's name where it has one."""
    table = _table(style, "parameter group", "learning rate")
    known = environment.get("groups")
    named = known if isinstance(known, Sequence) and not isinstance(known, str) else ()
    for index, lr in enumerate(rates):
        group = named[index] if index < len(named) else None
        name = group.get("name") if isinstance(group, Mapping) else None
        _add_row(table, (f"{index}" if name in (None, "") else f"{index} {name}", format_lr(lr)))
    table.columns[1].justify = "right"
    return table


def _facts(record: RunRecord) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts(record).items():
        grid.add_row(Text(name, style="dim"), Text(value))
    return grid


def _table(style: Style, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    lines = box.SIMPLE_HEAD if style.unicode else box.Box(str(box.SIMPLE_HEAD).replace("─", "-"), ascii=True)
    table = Table(box=lines, show_edge=False, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _add_row(table: Table, cells: Sequence[str], bold: bool = False) -> None:
    from rich.text import Text

    table.add_row(*(Text(printable(cell)) for cell in cells), style="bold" if bold else None)


def _rendered(block: RenderableType, style: Style) -> str:
    """A block as text, after nothing but the style: rich would look at the environment too."""
    from rich.console import Console

    file = StringIO()
    console = Console(
        file=file,
        width=style.width,
        force_terminal=style.color,
        color_system="standard" if style.color else None,
        no_color=not style.color,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
        force_jupyter=False,
        _environ={},
    )
    console.print(block)
    return trim(file.getvalue()).rstrip("\n")
