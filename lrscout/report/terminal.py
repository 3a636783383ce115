"""What a stream can show: its width, and whether colors, box characters and animation are welcome."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

MIN_WIDTH = 24  # the frame of a plot and a few points; below this, lines wrap
PIPE_WIDTH = 100  # what a file or a pipe is written for
UNKNOWN_WIDTH = 80  # a terminal that does not tell its size
SYMBOLS = "┌│•▚━±…▸░"  # what the reports draw with


@dataclass(frozen=True, slots=True)
class Style:
    """How to write to one stream."""

    width: int
    color: bool
    unicode: bool
    live: bool  # animated progress


def detect(stream: TextIO | None, environ: Mapping[str, str], width: int | None = None) -> Style:
    """The style that suits the stream; an explicit width goes before COLUMNS and the terminal's own size."""
    terminal = is_terminal(stream) and environ.get("TERM") != "dumb"
    return Style(
        width=max(MIN_WIDTH, width or _width(stream, environ, terminal)),
        color=_color(environ, terminal),
        unicode=_encodes(stream, SYMBOLS),
        live=terminal and not _is_set(environ.get("CI")),
    )


def is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def columns(stream: TextIO | None) -> int | None:
    """The columns that the terminal behind the stream has right now; None where it does not tell."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None if stream is not None else None
    except (OSError, ValueError, AttributeError):
        return None


def _width(stream: TextIO | None, environ: Mapping[str, str], terminal: bool) -> int:
    try:
        given = int(environ.get("COLUMNS", ""))
    except ValueError:
        given = 0
    if given > 0:
        return given
    return (columns(stream) or UNKNOWN_WIDTH) if terminal else PIPE_WIDTH


def _color(environ: Mapping[str, str], terminal: bool) -> bool:
    if environ.get("NO_COLOR"):
        return False
    if _is_set(environ.get("FORCE_COLOR")) or _is_set(environ.get("CLICOLOR_FORCE")):
        return True
    return terminal and environ.get("CLICOLOR") != "0"


def _is_set(value: str | None) -> bool:
    return value is not None and value.strip().lower() not in ("", "0", "false")


def _encodes(stream: TextIO | None, text: str) -> bool:
    encoding = getattr(stream, "encoding", None)
    if encoding is None:  # in memory: there is no encoder that could fail
        return True
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


_TAIL = re.compile(r"(?:[ \t]|\x1b\[[0-9;]*m)+$")
_CODE = re.compile(r"\x1b\[[0-9;]*m")


def trim(text: str) -> str:
    """The text without spaces at its lines' ends; color codes there stay."""
    lines = text.split("\n")
    return "\n".join(_TAIL.sub(lambda tail: "".join(_CODE.findall(tail[0])), line) for line in lines)


def columns_of(line: str) -> int:
    """The columns that a line takes, color codes left out."""
    return len(_CODE.sub("", line))


def printable(text: object) -> str:
    """Text from elsewhere with its control characters written out: nobody's name may recolor the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


PAGE = Style(width=80, color=False, unicode=True, live=False)
"""How a page shows text: plain, in Unicode."""
