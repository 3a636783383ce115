"""Objects for worker processes, which import them by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from lrscout.errors import LrscoutError, UsageError


class Worker:
    """Knows its place; dies on demand."""

    def __init__(self, place, folder):
        self.place, self.folder = place, Path(folder)

    def double(self, number, report):
        report(number)
        return 2 * number

    def where(self, report):
        time.sleep(0.2)
        return self.place, os.getpid()

    def die_once(self, report):
        mark = self.folder / "died"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "alive"

    def die(self, report):
        (self.folder / f"tried-{os.getpid()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self, report):
        os._exit(7)

    def exhaust(self, report):
        raise MemoryError("no room")

    def stumble(self, report):
        raise ZeroDivisionError("batch 30 is bad")

    def refuse(self, report):
        raise UsageError("not this", hint="but that")

    def sleep(self, report):
        report("asleep")
        time.sleep(60)


def explain(error):
    return error if isinstance(error, LrscoutError) else RuntimeError(f"{type(error).__name__}: {error}")
