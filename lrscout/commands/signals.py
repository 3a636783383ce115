"""Ctrl-C, and SIGTERM and SIGHUP as it: schedulers of clusters send the one, a closed terminal the other."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, NoReturn

from lrscout.errors import Terminated
from lrscout.processes.parentage import bind_forks

DEFAULTS: dict[int, Any] = {
    getattr(signal, name): default
    for name, default in {
        "SIGINT": signal.default_int_handler,
        "SIGTERM": signal.SIG_DFL,
        "SIGHUP": signal.SIG_DFL,
    }.items()
    if hasattr(signal, name)
}
AGAIN_SECONDS = 0.05  # between two times that an exception is raised
SAME_WISH_SECONDS = 0.2  # a second signal so soon says what the first one has said


class EndingSignals:
    """The signals that have ended this run."""

    def __init__(self) -> None:
        self._own = os.getpid()
        self._last = 0.0
        self._can_insist = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
        self._insists = False
        self.number: int | None = None  # of the first

    @contextmanager
    def insisting(self) -> Iterator[None]:
        """Raise the exception until it comes through: torch swallows some while it is imported.

        Not for code of the user's, which may need the timer.
        """
        before = signal.signal(signal.SIGALRM, lambda *_: self._raise()) if self._can_insist else None
        self._insists = self._can_insist
        try:
            yield
            self._raise()
        finally:
            self._insists = False
            if self._can_insist:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)

    def _raise(self) -> None:
        if self.number is not None:
            raise KeyboardInterrupt if self.number == signal.SIGINT else Terminated

    def handle(self, number: int, _: object) -> None:
        if os.getpid() != self._own:
            _end_fork(number)
        if self.number is not None and monotonic() < self._last + SAME_WISH_SECONDS:
            return
        self.number, self._last = self.number or number, monotonic()
        _end_children(number)
        if self._insists:
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
        self._raise()


@contextmanager
def ended_by_signals() -> Iterator[EndingSignals]:
    """Raise KeyboardInterrupt on Ctrl-C and Terminated on the others.

    A signal that is ignored, as under nohup, or has a handler already, stays as it is.
    """
    signals = EndingSignals()
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield signals
        return
    ours = [number for number, default in DEFAULTS.items() if signal.getsignal(number) is default]
    for number in ours:
        signal.signal(number, signals.handle)
    bind_forks()
    try:
        yield signals
    finally:
        for number in ours:
            signal.signal(number, DEFAULTS[number])


def _end_fork(number: int) -> NoReturn:
    """End a process that the user's code has forked, as it would have ended without this handler."""
    if number == signal.SIGINT:
        signal.signal(number, signal.SIG_IGN)  # a second one would interrupt its end, with a traceback
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(1)  # not reached


def _end_children(number: int) -> None:
    """Have the DataLoaders' workers end now; they would be waited for, 5 s each, while they load something."""
    if "torch" not in sys.modules:
        return
    from multiprocessing import active_children

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises a RuntimeError when a worker has ended
    if number == signal.SIGINT:
        return  # a terminal sends it to them as well
    for child in active_children():
        with suppress(ProcessLookupError):
            if child.pid is not None:
                os.kill(child.pid, signal.SIGINT)
