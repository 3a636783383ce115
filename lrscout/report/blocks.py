"""The body of a report as plain data, which Markdown and HTML lay out differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of plain text."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    chosen: int | None = None  # index of the row to stand out


@dataclass(frozen=True, slots=True)
class TextPlot:
    """A plot drawn with characters, for where nothing better can be drawn."""

    text: str


Block = str | TextTable | TextPlot
"""A paragraph, a table or a plot."""
