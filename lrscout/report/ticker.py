"""A clock that moves while the main thread is inside the user's code, or inside the import of torch."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

Tick = Callable[[], bool]
"""Writes something; returns whether it is to be called again."""


class Ticker:
    """Calls a function again and again from a thread of its own.

    A process that forks while another thread holds a lock leaves the lock locked in the child for good, so the thread
    ends before a fork and begins again after it, in the parent alone.
    """

    def __init__(self, tick: Tick, seconds: float) -> None:
        self._tick, self._seconds = tick, seconds
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Call the function after so many seconds, and then as often."""
        _RUNNING.add(self)
        self._begin()

    def stop(self) -> None:
        """Call it no more: once this returns, a call that was under way has ended."""
        _RUNNING.discard(self)
        self._halt()

    def _begin(self) -> None:
        self._over.clear()
        self._thread = threading.Thread(target=self._run, name="lrscout's clock", daemon=True)
        self._thread.start()

    def _halt(self) -> None:
        thread, self._thread = self._thread, None
        self._over.set()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # those are for the main thread
        while not self._over.wait(self._seconds):
            if not self._tick():
                _RUNNING.discard(self)
                return


_RUNNING: set[Ticker] = set()


def _before_fork() -> None:
    for ticker in list(_RUNNING):
        ticker._halt()


def _after_fork() -> None:
    for ticker in list(_RUNNING):
        ticker._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_RUNNING.clear)
