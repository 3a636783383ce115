"""The table of earlier runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lrscout.report.tables import add_row, rendered, table, target_text
from lrscout.report.terminal import Style, printable
from lrscout.report.views import view_of
from lrscout.results import RunRecord

NARROW, ROOMY = 70, 100  # columns from which times fit, and whole ones with a column for the status
NARROWEST_TARGET = 10
LONGEST, SHORTER = 28, 14  # characters of an answer, which may have a rate for each parameter group
SEPARATION = 3  # columns between two columns of a table


@dataclass(frozen=True, slots=True)
class Entry:
    """A run as the table lists it."""

    id: str
    when: str  # 2026-03-01 14:05:33
    command: str
    target: str
    answer: str | None
    status: str  # that of the record, or "damaged"
    path: str
    problem: str | None = None  # why it failed, or cannot be read

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def entry_of(record: RunRecord[Any], id: str, when: str, path: str) -> Entry:
    """The entry of a record."""
    view = view_of(record)
    answer = view.answer(record)
    lines = [] if answer is None else answer.split("\n")
    if len(lines) > 1:  # batch_size=16 and lr=0.001 in a table: 16, 0.001
        lines = [line.partition("=")[2] or line for line in lines]
    told = ", ".join(lines) or None
    target = target_text(record) or "objects from Python"
    return Entry(id, when, record.command, target, told, record.status, path, record.error)


def runs_table(entries: Sequence[Entry], style: Style) -> str:
    """The runs as a table: on a narrow terminal with shorter times or none, and a status only where it is not ok."""
    roomy = style.width >= ROOMY
    head = ["id", "when", "command", "target", "answer", "status"]
    shown = [place for place in range(6) if (place != 1 or style.width >= NARROW) and (place != 5 or roomy)]
    rows = [_cells(entry, roomy) for entry in entries]
    widths = [max(len(cells[place]) for cells in [head, *rows]) for place in shown if place != 3]
    room = max(style.width - sum(widths) - SEPARATION * len(widths), NARROWEST_TARGET)
    lines = table(style, *(head[place] for place in shown), left=range(len(shown)))
    for entry, cells in zip(entries, rows):
        cells[3] = _tail(cells[3], room, style)
        add_row(lines, [cells[place] for place in shown])
        if entry.status != "ok":
            lines.rows[-1].style = "yellow"
    return rendered(lines, style)


def _cells(entry: Entry, roomy: bool) -> list[str]:
    when = entry.when if roomy else entry.when[5:16]
    answer = entry.status if entry.status != "ok" and not roomy else entry.answer or "-"
    room = LONGEST if roomy else SHORTER
    answer = answer if len(answer) <= room else f"{answer[: room - 3]}..."
    return [printable(cell) for cell in (entry.id, when, entry.command, entry.target, answer, entry.status)]


def _tail(text: str, room: int, style: Style) -> str:
    """The end of a text, which says most about a target."""
    if len(text) <= room:
        return text
    dots = "…" if style.unicode else "..."
    return dots + text[len(text) - room + len(dots) :]
