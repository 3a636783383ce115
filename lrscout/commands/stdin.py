"""The user's code gets no standard input: it would wait for an answer behind the progress line.

Its runs in other processes have none either, nor have training commands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_stdin() -> Iterator[None]:
    """Have whoever reads stdin find its end."""
    try:
        descriptor = sys.stdin.fileno()
        saved = os.dup(descriptor)
    except (AttributeError, OSError, ValueError):  # missing, closed or replaced, as in a test
        yield
        return
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(nothing, descriptor)
        yield
    finally:
        os.dup2(saved, descriptor)
        os.close(saved)
        os.close(nothing)
