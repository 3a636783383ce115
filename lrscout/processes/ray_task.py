"""What runs on the nodes of a Ray cluster: a request, and the mailbox for what it reports; imports no Ray."""

from __future__ import annotations

import os
from typing import Any

from lrscout.processes.messages import OutOfMemory
from lrscout.processes.transport import packed
from lrscout.processes.worker import Performer, packed_answer

_OWN_FOLDER = os.getcwd()
_performers: dict[int, Performer] = {}  # by executor: Ray uses a process for several tasks of one driver


class RanOutOfMemoryError(Exception):
    """A request ran out of memory, by its own account; Ray tries it again, perhaps beside others."""


class Mailbox:
    """Holds what requests under way report until the driver takes it."""

    def __init__(self) -> None:
        self._reports: list[tuple[int, bytes]] = []

    def put(self, task: int, content: bytes) -> None:
        self._reports.append((task, content))

    def take(self) -> list[tuple[int, bytes]]:
        """All that came since the last time, each with the number of its task."""
        taken, self._reports = self._reports, []
        return taken


def perform(executor: int, folder: str | None, job: bytes, task: int, mailbox: Any) -> bytes:
    """Perform a job in a folder, by default the one that Ray has made; what it reports goes to the mailbox.

    Raises:
        RanOutOfMemoryError: it did.
    """
    os.chdir(folder or _OWN_FOLDER)  # which the user's code may have left
    performer = _performers.setdefault(executor, Performer())
    # nobody waits for it to arrive, and nothing is lost where it does not
    message = performer.perform(job, lambda content: mailbox.put.remote(task, bytes(packed(content))))
    if isinstance(message, OutOfMemory):
        raise RanOutOfMemoryError(message.reason)
    return bytes(packed_answer(message))
