"""The report of check: the summary, the answer for --quiet, and the parts of the exports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lrscout.formatting import format_seconds
from lrscout.report.blocks import Block, TextTable
from lrscout.report.tables import add_row, common_facts, fact_grid, sentence, stacked, table, unfinished
from lrscout.report.terminal import Style
from lrscout.results import BatchField, CheckRecord, CheckResult, CheckStatus

COLORS: dict[CheckStatus, str] = {"ok": "green", "skip": "dim", "warn": "bold yellow", "fail": "bold red"}
TOLD: dict[CheckStatus, str] = {"fail": "failed", "warn": "warned", "ok": "ok", "skip": "skipped"}
FIELD_HEAD = ("batch", "shape", "type", "device")


def details(record: CheckRecord, style: Style) -> str:
    """The first batch, and how the checks went."""
    result = record.result
    if result is None:
        return ""
    blocks: list[RenderableType] = [fact_grid(facts(record))]
    if result.batch:
        fields = table(style, *FIELD_HEAD, left=(0, 1, 2, 3))
        for row in _field_rows(result.batch):
            add_row(fields, row)
        blocks.insert(0, fields)
    return stacked(blocks, style)


def closing(record: CheckRecord, style: Style) -> str:
    """What each check found and what to do about it, and how many found something."""
    result = record.result
    if result is None:
        return headline(record)
    worst = _worst(result)
    color = "bold" if worst in ("ok", "skip") else COLORS[worst]
    return stacked([_checks(result), Text(headline(record), style=color)], style)


def headline(record: CheckRecord) -> str:
    """The result in one line."""
    result = record.result
    if result is None or record.status == "failed":
        return unfinished(record)
    counts = ((status, len(result.named(status))) for status in TOLD)
    told = ", ".join(f"{count} {TOLD[status]}" for status, count in counts if count)
    checks = f"{len(result.checks)} check{'' if len(result.checks) == 1 else 's'}"
    return f"{'Interrupted after ' if record.status == 'interrupted' else ''}{checks}: {told or 'none was made'}"


def answer(record: CheckRecord) -> str | None:
    """The worst of all checks alone: ok, warn or fail."""
    if record.result is None:
        return None
    worst = _worst(record.result)
    return "ok" if worst == "skip" else worst


def problem(record: CheckRecord) -> str | None:
    """The checks that failed or warned, or None."""
    if record.result is None:
        return None
    lines = [f"{c.name} {TOLD[c.status]}: {c.detail}" for c in record.result.checks if c.status in ("warn", "fail")]
    return "; ".join(lines) or None


def rows(record: CheckRecord) -> Iterator[Sequence[object]]:
    """A header, then the checks."""
    yield "check", "status", "detail", "advice"
    for check in record.result.checks if record.result is not None else ():
        yield check.name, check.status, check.detail, check.advice


def blocks(record: CheckRecord) -> list[Block]:
    """The checks and the batch as tables."""
    result = record.result
    if result is None:
        return []
    checks = [(check.name, check.status, sentence(check.detail), check.advice or "") for check in result.checks]
    found = [TextTable(("check", "status", "seen", "what to do"), checks)]
    return [*found, *([TextTable(FIELD_HEAD, _field_rows(result.batch))] if result.batch else [])]


def facts(record: CheckRecord) -> dict[str, str]:
    """How long it took and what it ran on, as far as the record says."""
    known: dict[str, object] = {}
    if record.result is not None:
        known["time"] = format_seconds(record.result.seconds)
    known |= common_facts(record)
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def _worst(result: CheckResult) -> CheckStatus:
    return next((status for status in TOLD if result.named(status)), "skip")


def _checks(result: CheckResult) -> Table:
    """Status, name and what was seen, with what to do about it below."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for check in result.checks:
        told = Text(sentence(check.detail))
        if check.advice is not None:
            told.append(f"\n{check.advice}", style="dim" if check.status in ("ok", "skip") else "cyan")
        grid.add_row(Text(check.status, style=COLORS[check.status]), Text(check.name), told)
    return grid


def _field_rows(fields: Sequence[BatchField]) -> list[tuple[str, str, str, str]]:
    return [
        (
            field.name,
            "" if field.shape is None else str(field.shape),
            field.dtype,
            field.device or "",
        )
        for field in fields
    ]
