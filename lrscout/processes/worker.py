"""A worker's side: it performs requests on its host until nobody sends any more."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, Never

from lrscout.errors import LrscoutError
from lrscout.processes.messages import Answered, Job, Message, OutOfMemory, Raised, Report, Reported
from lrscout.processes.transport import cannot_travel, packed, send


def live(connection: Connection, environment: Mapping[str, str] | None = None) -> Never:
    """Serve until the connection is closed, then end this process."""
    if hasattr(os, "setsid"):
        os.setsid()  # so that a DataLoader's workers can be killed with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C ends
    os.environ.update(environment or {})
    code = 1
    try:
        _serve(connection)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)  # taking torch apart costs a second


def _serve(connection: Connection) -> None:
    performer = Performer()
    while True:
        try:
            data = connection.recv_bytes()
        except (EOFError, OSError):
            return
        message = performer.perform(data, lambda content: send(connection, Reported(content)))
        answer = packed_answer(message)
        del message  # an exception's traceback keeps tensors alive
        try:
            connection.send_bytes(answer)
        except (BrokenPipeError, ConnectionResetError):
            return


class Performer:
    """Performs jobs on a host, which the first of them makes."""

    def __init__(self) -> None:
        self._host: Any = None

    def perform(self, data: bytes, report: Report) -> Message:
        """What became of a job, which comes pickled."""
        try:
            job: Job[Any] = pickle.loads(data)
        except Exception as error:
            return Raised(cannot_travel(error))
        try:
            if self._host is None:
                self._host = job.make(job.place, *job.arguments)
            return Answered(job.request.perform(self._host, report))
        except BaseException as error:  # SystemExit, or whatever the user's code has raised
            out = job.request.is_out_of_memory(error)
            return OutOfMemory(str(error)) if out else Raised(error)


def packed_answer(message: Message) -> memoryview:
    """A message, packed; what cannot be pickled becomes an error that says so."""
    try:
        return packed(message)
    except Exception as error:
        return packed(Raised(LrscoutError(f"The answer cannot be sent back: {error}.")))
