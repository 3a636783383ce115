"""Building blocks of a report: tables, lists of facts and the paragraph with the answer, rendered to text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from lrscout.report.terminal import Style, printable, trim
from lrscout.results import RunRecord


def table(style: Style, *columns: str, left: Sequence[int] = (0,)) -> Table:
    """An empty table; the columns at the indices in `left` are aligned left, the others right."""
    lines = box.SIMPLE_HEAD if style.unicode else box.Box(str(box.SIMPLE_HEAD).replace("─", "-"), ascii=True)
    table = Table(box=lines, show_edge=False, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, overflow="fold", justify="left" if index in left else "right")
    return table


def add_row(table: Table, cells: Sequence[str], bold: bool = False) -> None:
    """Add a row of plain text."""
    table.add_row(*(Text(printable(cell)) for cell in cells), style="bold" if bold else None)


def rendered(block: RenderableType, style: Style) -> str:
    """A block as text, independent of the environment variables that rich reads."""
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


def stacked(blocks: Sequence[RenderableType], style: Style) -> str:
    """Blocks below each other; what is text already stays as it is."""
    return "\n\n".join(block if isinstance(block, str) else rendered(block, style) for block in blocks)


def answer_block(record: RunRecord[Any], headline: str, reasons: Sequence[str], found: bool) -> Text:
    """The headline, yellow unless the run succeeded and found an answer, with the reasons below it."""
    lines = [*reasons]
    if record.status == "failed":
        lines = ["These are the results from before the failure."]
    elif record.status == "interrupted":
        lines.append("The search was interrupted; these are the results so far.")
    text = Text().append(headline, style="bold" if found and record.status == "ok" else "bold yellow")
    return text.append("".join("\n" + line for line in lines))


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def common_facts(record: RunRecord[Any]) -> dict[str, object]:
    """The target, the optimizer and the device, as far as the record has them."""
    environment = record.environment
    known: dict[str, object] = {"target": target_text(record)}
    if record.settings.get("nproc"):
        known["ranks"] = f"{record.settings['nproc']} ({record.settings.get('strategy') or 'ddp'})"
    elif record.target.get("ranks", 1) > 1:
        known["ranks"] = record.target["ranks"]  # those of a command
    known["optimizer"] = environment.get("optimizer") or record.settings.get("optimizer")
    known["device"] = environment.get("device") or record.settings.get("device")
    if environment.get("device_name") and not str(known["device"]).startswith("cpu"):
        known["device"] = f"{known['device']} ({environment['device_name']})"
    own = environment.get("own_settings")
    if isinstance(own, Mapping):
        flags = (f"--{str(name).replace('_', '-')} {value}" for name, value in own.items())
        known["settings"] = f"{' '.join(flags)} (the target's own)"
    return known


def target_text(record: RunRecord[Any]) -> str | None:
    """What was trained: a path or a command; None for objects passed from Python."""
    command = record.target.get("command")
    return shlex.join(map(str, command)) if isinstance(command, list) else record.target.get("path")


def fact_grid(facts: Mapping[str, str]) -> RenderableType:
    """Names and values in two columns, without lines."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        grid.add_row(Text(name, style="dim"), Text(value))
    return grid


def unfinished(record: RunRecord[Any]) -> str:
    """The headline of a run that failed or has no result."""
    if record.result is None:
        ended = "was interrupted" if record.status == "interrupted" else "failed"
        return f"{record.command} {ended} before it had a result."
    return f"The run failed: {record.error}" if record.error else "The run failed"
