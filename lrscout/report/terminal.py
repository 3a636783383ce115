"""What a stream can show: its width, colors, Unicode and animation."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

MIN_WIDTH = 24  # a plot with a few points; on narrower terminals, lines wrap
PIPE_WIDTH = 100  # for files and pipes
UNKNOWN_WIDTH = 80  # for terminals that do not report their size
PLAIN, COERCED = ("C", "POSIX"), ("C.UTF-8", "C.utf8", "UTF-8")  # locales, and what Python makes of them
LEAST_PLOT = 8  # rows with which a curve can still be read
BELOW_PLOT = 2  # rows: the label of the axis and the legend
SYMBOLS = "┌│•▚━±…▸░"  # used by the reports


@dataclass(frozen=True, slots=True)
class Style:
    """How to write to a stream."""

    width: int
    color: bool
    unicode: bool
    live: bool  # animated progress
    verbose: bool = False  # with what is seldom asked for
    rows: int | None = None  # of the window; None: there is none

    def plot_height(self, wanted: int, stacked: int = 1) -> int:
        """The height of each of some plots below each other; together they take no more than a third of the window."""
        room = self._room(stacked)
        return wanted if room is None else min(wanted, max(LEAST_PLOT, room))

    def has_room_for(self, stacked: int) -> bool:
        """Whether so many plots below each other can be read within a third of the window."""
        room = self._room(stacked)
        return room is None or room >= LEAST_PLOT

    def _room(self, stacked: int) -> int | None:
        return None if self.rows is None else self.rows // 3 // stacked - BELOW_PLOT


def detect(stream: TextIO | None, environ: Mapping[str, str], width: int | None = None, verbose: bool = False) -> Style:
    """The style for a stream; an explicit width takes precedence over COLUMNS and the size of the terminal."""
    terminal = is_terminal(stream) and environ.get("TERM") != "dumb"
    return Style(
        width=max(MIN_WIDTH, width or _width(stream, environ)),
        color=_color(environ, terminal),
        unicode=_encodes(stream, SYMBOLS) and not _asks_for_ascii(environ),
        live=terminal and not _is_set(environ.get("CI")),
        verbose=verbose,
        rows=size(stream).lines or None if terminal else None,
    )


def is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def size(stream: TextIO | None) -> os.terminal_size:
    """The current size of the terminal behind the stream; 0 if unknown."""
    try:
        return os.get_terminal_size(-1 if stream is None else stream.fileno())
    except (OSError, ValueError, AttributeError):
        return os.terminal_size((0, 0))


def _width(stream: TextIO | None, environ: Mapping[str, str]) -> int:
    try:
        given = int(environ.get("COLUMNS", ""))
    except ValueError:
        given = 0
    if given > 0:
        return given
    return (size(stream).columns or UNKNOWN_WIDTH) if is_terminal(stream) else PIPE_WIDTH


def _color(environ: Mapping[str, str], terminal: bool) -> bool:
    if environ.get("NO_COLOR"):
        return False
    if _is_set(environ.get("FORCE_COLOR")) or _is_set(environ.get("CLICOLOR_FORCE")):
        return True
    return terminal and environ.get("CLICOLOR") != "0"


def _asks_for_ascii(environ: Mapping[str, str]) -> bool:
    """Whether the locale is plain C: Python then writes UTF-8, in the hope that it can be read.

    It also sets LC_CTYPE where only LANG says so (PEP 538).
    """
    if environ.get("PYTHONIOENCODING") or environ.get("PYTHONUTF8"):
        return False
    asked = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG")
    if asked in COERCED and not environ.get("LC_ALL"):
        asked = environ.get("LANG") or asked
    return asked in PLAIN


def _is_set(value: str | None) -> bool:
    return value is not None and value.strip().lower() not in ("", "0", "false")


def _encodes(stream: TextIO | None, text: str) -> bool:
    encoding = getattr(stream, "encoding", None)
    if encoding is None:  # in memory, so nothing is encoded
        return True
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


_TAIL = re.compile(r"(?:[ \t]|\x1b\[[0-9;]*m)+$")
_CODE = re.compile(r"\x1b\[[0-9;]*m")


def trim(text: str) -> str:
    """The text without spaces at the ends of lines; color codes are kept."""
    lines = text.split("\n")
    return "\n".join(_TAIL.sub(lambda tail: "".join(_CODE.findall(tail[0])), line) for line in lines)


def columns_of(line: str) -> int:
    """The width of a line in columns, not counting color codes."""
    return len(_CODE.sub("", line))


def printable(text: object) -> str:
    """Untrusted text in one line with control characters escaped, so that it cannot change the terminal."""
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


def printable_lines(text: str, color: bool = False) -> str:
    """Text of several lines, each of them printable; with `color`, color codes are kept."""
    lines = text.expandtabs().split("\n")
    if not color:
        return "\n".join(map(printable, lines))
    return "\n".join("".join(part if _CODE.fullmatch(part) else printable(part) for part in _parts(x)) for x in lines)


def _parts(line: str) -> list[str]:
    """The line cut before and after each color code."""
    return re.split(f"({_CODE.pattern})", line)


PAGE = Style(width=80, color=False, unicode=True, live=False)
"""The style of text in Markdown: plain Unicode."""
