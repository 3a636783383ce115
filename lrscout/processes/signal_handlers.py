"""The handlers of the signals that end a run, while others' code runs that may set its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def own_signal_handlers() -> Iterator[None]:
    """Put back the handlers of the signals that end a run: with others, it might not end, or lose what it has."""
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # it was not set from Python
                signal.signal(number, handler)
