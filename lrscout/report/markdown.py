"""Tables and escaped text for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from lrscout.report.terminal import printable


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the cells must be Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def inline(text: object) -> str:
    """Text with the special characters of Markdown escaped."""
    return "".join("\\" + c if c in "\\`*_[]<>#" else c for c in printable(text))


def code(text: object) -> str:
    """Text as inline code, with more backticks around it than in it."""
    plain = printable(text)
    fence = "`" * (max((len(run) for run in _runs(plain)), default=0) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") or not plain else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def _runs(text: str) -> list[str]:
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]
