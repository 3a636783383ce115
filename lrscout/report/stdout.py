"""Reserves stdout for results: everything that user code prints goes to stderr, even through the file descriptor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

from lrscout.report.streams import write_safely


@contextmanager
def results_stream() -> Iterator[TextIO | None]:
    """Yield a stream to the real stdout, while `print` and file descriptor 1 are redirected to stderr.

    If sys.stdout has no file descriptor, as in a notebook or a test, only `print` is redirected.
    """
    stdout = sys.stdout
    try:
        descriptor = stdout.fileno()
        stdout.flush()
        write_safely(sys.stderr, "")  # it may be missing
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
            stdout.flush()  # text still buffered in the old object belongs to stderr
        os.dup2(saved, descriptor)
        os.close(saved)
        with suppress(OSError):  # a broken pipe has been reported by the write
            results.close()


def open_standard_descriptors() -> None:
    """Have 0, 1 and 2 lead nowhere where they are closed: the next file opened would get the number, and the prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # which takes the lowest number that is free


def redirect_stdout_to_stderr() -> None:
    """Redirect stdout for good, at the end of the process, so that exit handlers print to stderr."""
    with suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
        os.dup2(2, 1)
