"""Writing to streams that may be missing, closed, broken or unable to encode."""

from __future__ import annotations

from contextlib import suppress
from typing import TextIO


def write(stream: TextIO | None, text: str, flush: bool = True) -> None:
    """Write to a stream that may be missing or closed, with escapes for what it cannot encode."""
    if stream is None or getattr(stream, "closed", False):
        return
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    if flush:
        stream.flush()


def write_safely(stream: TextIO | None, text: str, flush: bool = True) -> None:
    """The same for messages: that nobody hears them is no reason to stop."""
    with suppress(OSError, ValueError):  # ValueError: closed meanwhile
        write(stream, text, flush)
