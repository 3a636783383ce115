"""The body of a report as plain data, which Markdown and HTML lay out differently."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


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


@dataclass(frozen=True, slots=True)
class TextCode:
    """Lines of Python."""

    lines: Sequence[str]


Block = str | TextTable | TextPlot | TextCode
"""A paragraph, a table, a plot or code."""


def setting_text(value: Any) -> str:
    """A setting as a recipe has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
