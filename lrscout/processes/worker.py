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
from lrscout.processes.messages import Answered, Job, Message, OutOfMemory, Raised, Reported
from lrscout.processes.transport import cannot_travel, send


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
    host: Any = None
    while True:
        message: Message
        try:
            data = connection.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            job: Job[Any] = pickle.loads(data)
        except Exception as error:
            message = Raised(cannot_travel(error))
        else:
            try:
                host = host if host is not None else job.make(job.place, *job.arguments)
                message = Answered(job.request.perform(host, lambda content: send(connection, Reported(content))))
            except BaseException as error:  # SystemExit, or whatever the user's code has raised
                out = job.request.is_out_of_memory(error)
                message = OutOfMemory(str(error)) if out else Raised(error)
        try:
            send(connection, message)
        except (BrokenPipeError, ConnectionResetError):
            return
        except Exception as error:
            send(connection, Raised(LrscoutError(f"The answer cannot be sent back: {error}.")))
        del message  # an exception's traceback keeps tensors alive
