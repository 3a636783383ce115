"""Ends a run of this process in which nothing happens any more."""

from __future__ import annotations

import faulthandler
import signal
import threading
from contextlib import suppress
from time import monotonic
from types import FrameType
from typing import Any

from lrscout.errors import WorkloadError
from lrscout.tracebacks import users_place

OFTEN = 0.1  # of its time: the timers are not set again before that
REPEAT_SECONDS = 1.0  # the user's code may swallow the error
GRACE_SECONDS = 10.0  # for code that never comes back to Python; then the process ends with its stack


class Watchdog:
    """Raises a WorkloadError in the main thread, wherever it is, if it hears nothing for so many seconds.

    A context manager; without a number of seconds, it does nothing. It uses the timer of SIGALRM, where there is one.
    """

    def __init__(self, seconds: float | None) -> None:
        possible = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
        self._seconds = seconds if possible else None
        self._heard = -float("inf")
        self._before: Any = None

    def __enter__(self) -> Watchdog:
        if self._seconds is not None:
            self._before = signal.signal(signal.SIGALRM, self._bark)
            self.hear()
        return self

    def __exit__(self, *_: object) -> None:
        if self._seconds is not None:
            self.rest()
            signal.signal(signal.SIGALRM, self._before)

    def hear(self) -> None:
        """Something has happened; cheap enough to be told at every step."""
        now = monotonic()
        if self._seconds is None or now < self._heard + OFTEN * self._seconds:
            return
        self._heard = now
        signal.setitimer(signal.ITIMER_REAL, self._seconds, REPEAT_SECONDS)
        with suppress(RuntimeError, OSError, ValueError):  # stderr is missing or closed
            faulthandler.dump_traceback_later(self._seconds + GRACE_SECONDS, exit=True)

    def rest(self) -> None:
        """What follows may take as long as it likes."""
        if self._seconds is not None:
            self._heard = -float("inf")
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()

    def _bark(self, _: int, frame: FrameType | None) -> None:
        place = users_place(frame)
        where = f"it is at {place}" if place is not None else "the processes of the runs tell nothing"
        raise WorkloadError(
            f"Nothing has happened for {self._seconds:g} s: {where}.",
            hint="If it is only slow there, raise --timeout, or leave it out.",
        )
