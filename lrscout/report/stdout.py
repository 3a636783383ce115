"""Keeping stdout for results: whatever the user's code prints goes to stderr, down to the file descriptor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO


@contextmanager
def results_stream() -> Iterator[TextIO | None]:
    """Give a stream on the real stdout, while `print` and file descriptor 1 lead to stderr.

    Where sys.stdout is a stand-in without a descriptor (a notebook, a test), only `print` is led away.
    """
    stdout = sys.stdout
    try:
        descriptor = stdout.fileno()
        stdout.flush()
        sys.stderr.flush()
        saved = os.dup(descriptor)
    except (AttributeError, OSError, ValueError):
        with redirect_stdout(sys.stderr):
            yield stdout
        return
    results = os.fdopen(os.dup(saved), "w", encoding=stdout.encoding, errors=stdout.errors)
    try:
        os.dup2(2, descriptor)
        with redirect_stdout(sys.stderr):
            yield results
    finally:
        with suppress(OSError, ValueError):
            stdout.flush()  # what was printed to the old object meanwhile belongs to stderr
        os.dup2(saved, descriptor)
        os.close(saved)
        with suppress(OSError):  # a reader that went away has been reported by the write
            results.close()


def lead_stdout_away() -> None:
    """For the end of the process: what exit handlers still print goes to stderr."""
    with suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
        os.dup2(2, 1)
