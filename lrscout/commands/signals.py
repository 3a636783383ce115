"""SIGTERM and SIGHUP end a run as Ctrl-C does: schedulers of clusters send the one, a closed terminal the other."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lrscout.errors import Terminated

HANDLED = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def ended_by_signals() -> Iterator[list[int]]:
    """Raise Terminated on one of these signals; the list holds the number of the one that came.

    A signal that is ignored, as under nohup, stays ignored.
    """
    caught: list[int] = []
    own = os.getpid()

    def handle(number: int, _: object) -> None:
        if os.getpid() != own:  # a process that the user's code has forked, which is to end as ever
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        caught.append(number)
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield caught
        return
    before = {number: signal.getsignal(number) for number in HANDLED}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(number, handle)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            if handler is signal.SIG_DFL:
                signal.signal(number, handler)
