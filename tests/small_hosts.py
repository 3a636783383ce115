"""A host and its requests for worker processes, which import them by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrscout.errors import TargetImportError, UsageError
from lrscout.processes.messages import Limits, Request


class Host:
    """Knows its place, and counts what it performed."""

    def __init__(self, place, folder):
        self.place, self.folder, self.performed = place, Path(folder), 0

    def __str__(self):
        return f"{self.place} {os.getpid()}"


class NamedError(Exception):
    """An exception that cannot be pickled by itself."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class UnprintableError(Exception):
    """An exception whose text is a bug."""

    def __str__(self):
        raise ValueError("no words")


class OwnUsageError(UsageError):
    """A user's class with a constructor of its own."""

    def __init__(self, code):
        super().__init__(f"code {code}")


class Unreadable:
    """Cannot be unpickled."""

    def __reduce__(self):
        return open, ("/no/such/file",)


@dataclass(frozen=True)
class Do(Request[Host, Any]):
    """Calls one of the functions below."""

    action: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    limits: Limits = Limits()  # noqa: RUF009  frozen

    def perform(self, host, report):
        host.performed += 1
        return self.action(host, report, *self.arguments)

    def is_out_of_memory(self, error):
        return isinstance(error, MemoryError)


def double(host, report, number):
    report(number)
    return 2 * number


def where(host, report):
    time.sleep(0.2)
    return host.place, os.getpid()


def count(host, report):
    return host.performed


def die_once(host, report):
    mark = host.folder / "died"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def die(host, report):
    (host.folder / f"tried-{os.getpid()}").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def leave(host, report):
    os._exit(7)


def exhaust(host, report):
    raise MemoryError("no room")


def stumble(host, report):
    raise ZeroDivisionError("batch 30 is bad")


def stumble_oddly(host, report):
    raise NamedError("this", "that")


def stumble_without_words(host, report):
    raise UnprintableError


def refuse_in_his_own_way(host, report):
    raise OwnUsageError(3)


def doze(host, report, seconds):
    time.sleep(seconds)
    return "awake"


def fork_and_die(host, report):
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def exit_by_itself(host, report):
    raise SystemExit(3)


def refuse(host, report):
    raise UsageError("not this", hint="but that")


def refuse_because(host, report):
    try:
        stumble(host, report)
    except ZeroDivisionError as error:
        raise TargetImportError("cannot import") from error


def give_an_error(host, report):
    try:
        stumble(host, report)
    except ZeroDivisionError as error:
        return {"failure": error}


def give_what_cannot_travel(host, report):
    return lambda: None


def sleep(host, report):
    report("asleep")
    time.sleep(60)


def fork_and_sleep(host, report):
    """A child of the worker, as a DataLoader has."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    (host.folder / "child").write_text(str(child))
    report("forked")
    time.sleep(60)


def fill(host, report, mebibytes):
    held = b"x" * (mebibytes << 20)
    time.sleep(1.0)  # the parent looks several times a second
    os.kill(os.getpid(), signal.SIGKILL)
    return held
