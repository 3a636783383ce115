"""The report of tune: a line for each stage, and what to paste."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lrscout.formatting import format_lr, format_seconds
from lrscout.report.blocks import Block, TextCode, TextTable
from lrscout.report.paste import with_lines
from lrscout.report.tables import add_row, answer_block, common_facts, fact_grid, stacked, table, unfinished
from lrscout.report.terminal import Style
from lrscout.results import TuneRecord, TuneResult

HEAD = ("stage", "answer", "why", "time")


def details(record: TuneRecord, style: Style) -> str:
    """What leads to the answer: facts and the stages."""
    if record.result is None:
        return ""
    lines = table(style, *HEAD, left=(0, 1, 2))
    for cells in _cells(record.result):
        add_row(lines, cells)
    return stacked([fact_grid(facts(record)), lines], style)


def closing(record: TuneRecord, style: Style) -> str:
    """The answer, and the lines to paste."""
    result = record.result
    if result is None:
        return headline(record)
    found = answer_block(record, headline(record), (), result.lr is not None)
    return with_lines(found, result.lines, style)


def headline(record: TuneRecord) -> str:
    """The result in one line."""
    result = record.result
    if result is None or record.status == "failed":
        return unfinished(record)
    parts = [f"batch size {result.batch_size}"] if result.batch_size is not None else []
    parts += [f"learning rate {format_lr(result.lr)}"] if result.lr is not None else []
    parts += [f"schedule {result.schedule}"] if result.schedule is not None else []
    if not parts:
        return "Nothing found"
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def answer(record: TuneRecord) -> str | None:
    """What was found, a line each."""
    result = record.result
    if result is None or result.lr is None:
        return None
    found = [("batch_size", result.batch_size), ("lr", f"{result.lr:.4g}"), ("schedule", result.schedule)]
    return "\n".join(f"{name}={value}" for name, value in found if value is not None)


def problem(record: TuneRecord) -> str | None:
    """Why there is no learning rate, or None if there is one."""
    if record.result is None or record.result.lr is not None:
        return None
    return next(
        (f"{each.name}: {each.detail}" for each in record.result.stages if each.answer is None), headline(record)
    )


def facts(record: TuneRecord) -> dict[str, str]:
    """How long it took and what it ran on."""
    known: dict[str, object] = {}
    if record.result is not None:
        known["time"] = format_seconds(record.result.seconds)
    known |= common_facts(record)
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def rows(record: TuneRecord) -> Iterator[Sequence[object]]:
    """A header, then the stages."""
    yield "stage", "status", "answer", "seconds"
    for stage in record.result.stages if record.result is not None else ():
        yield stage.name, stage.status, stage.answer, stage.seconds


def blocks(record: TuneRecord) -> list[Block]:
    """The stages and the lines to paste."""
    result = record.result
    if result is None:
        return []
    return [TextTable(HEAD, _cells(result)), *([TextCode(result.lines)] if result.lines else [])]


def _cells(result: TuneResult) -> list[tuple[str, str, str, str]]:
    return [
        (stage.name, stage.answer or stage.status, stage.detail, format_seconds(stage.seconds) if stage.seconds else "")
        for stage in result.stages
    ]
