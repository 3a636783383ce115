"""Writing to streams that may be missing, closed, broken or limited in encoding."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TextIO


def write(stream: TextIO | None, text: str, flush: bool = True) -> None:
    """Write to a stream unless it is missing or closed; characters that it cannot encode are escaped."""
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
    """Write a message and ignore errors: an unread message is no reason to stop."""
    with suppress(OSError, ValueError):  # ValueError: the stream was closed meanwhile
        write(stream, text, flush)


def write_aside(stream: TextIO | None, text: str) -> None:
    """Write a message from another thread, past what the others have written to the stream and not yet sent."""
    if stream is None:
        return
    try:
        number = stream.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or in memory
        write_safely(stream, text)
        return
    with suppress(OSError):
        os.write(number, text.encode(stream.encoding or "ascii", "backslashreplace"))
