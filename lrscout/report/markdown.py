"""Tables and escaped text for Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lrscout.report.blocks import Block, TextCode, TextPlot
from lrscout.report.terminal import printable

_BEGINNING = re.compile(r"^([0-9]*)([.)](?= |$)|[-+](?=[- ]|$))")  # of a list, or a line across the page


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the cells must be Markdown, the names of the columns are any text."""
    lines = [[inline(name) for name in head], ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def markdown_block(block: Block) -> str:
    """A part of a report as Markdown."""
    if isinstance(block, TextPlot):
        return f"```text\n{block.text}\n```"
    if isinstance(block, TextCode):
        return "\n".join(["```python", *block.lines, "```"])
    if isinstance(block, str):
        return inline(block)
    rows = [[inline(cell) for cell in row] for row in block.rows]
    if block.chosen is not None:
        rows[block.chosen][0] = f"**{rows[block.chosen][0]}**"
    return markdown_table(block.head, rows)


def inline(text: object) -> str:
    """Text with the special characters of Markdown escaped, and what would begin a list or a heading."""
    plain = "".join("\\" + c if c in "\\`*_[]<>#~&" else c for c in printable(text).strip())
    return _BEGINNING.sub(r"\1\\\2", plain)


def code(text: object) -> str:
    """Text as inline code, with more backticks around it than in it."""
    plain = printable(text)
    if "\\|" in plain:  # in a table the bar would end the cell: a second backslash before it escapes the first
        return inline(plain)
    fence = "`" * (max((len(run) for run in _runs(plain)), default=0) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") or not plain else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def _runs(text: str) -> list[str]:
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]
