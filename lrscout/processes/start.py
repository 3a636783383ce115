"""Starting worker processes: forked from a server that has loaded torch once, or spawned anew."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, Protocol

from lrscout.errors import LrscoutError, UsageError
from lrscout.processes import worker
from lrscout.processes.parentage import kill_group

CAN_FORK = sys.platform == "linux"
END_SECONDS = 1.0  # for the server to end its workers and itself
IN_WORKER = "LRSCOUT_IN_WORKER"  # in the environment of workers
SERVE = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); " + (
    "from lrscout.processes.server import main; main(*map(int, sys.argv[2:5]), sys.argv[5])"
)
WITH_TORCH = "lrscout.engine.preload"


class WorkerProcess(Protocol):
    """A process that serves requests (lrscout.processes.worker)."""

    pid: int
    connection: Connection
    sentinel: Any  # for multiprocessing.connection.wait: ready once the process has ended

    def wait(self, seconds: float | None) -> int | None:
        """The exit code, minus the number of the signal that killed it; None if it is still alive by then."""

    def kill(self) -> None:
        """Kill it and every process it started."""

    def close(self) -> None:
        """Release what belongs to a process that has ended."""


class Starter(Protocol):
    """Starts worker processes."""

    def start(self) -> WorkerProcess:
        """Start one.

        Raises:
            LrscoutError: it cannot be started.
        """

    def close(self) -> None:
        """End what was started to start others."""


def make_starter(
    environment: Mapping[str, str] | None = None, expendable: bool = False, preloaded: str = WITH_TORCH
) -> Starter:
    """The quickest safe way to start workers on this platform.

    A fork of a process that has computed with torch's threads hangs, and a fresh start takes seconds; so on Linux
    workers are forked from a server that has imported torch and done nothing else. Elsewhere system libraries do not
    survive a fork, and workers are spawned. Workers that need no torch can have another module preloaded.

    `environment` holds variables to add. If the kernel runs out of memory it kills `expendable` workers first.

    Raises:
        UsageError: this is a worker itself, importing a target that starts a search.
    """
    if os.environ.get(IN_WORKER):
        raise UsageError(
            "Importing the target started another lrscout search.",
            hint='Put the call under `if __name__ == "__main__":`.',
        )
    return ForkServer(environment or {}, expendable, preloaded) if CAN_FORK else Spawner(environment or {})


class ForkServer:
    """The process that workers are forked from (lrscout.processes.server).

    Raises:
        LrscoutError: it cannot be started.
    """

    def __init__(self, environment: Mapping[str, str], expendable: bool, preloaded: str = WITH_TORCH) -> None:
        self._control, theirs = socket.socketpair()
        numbers = (theirs.fileno(), os.getpid(), int(expendable))
        self._process = subprocess.Popen(
            # -P: a json.py in this folder is none of the server's business
            [sys.executable, "-P", "-c", SERVE, json.dumps(sys.path), *map(str, numbers), preloaded],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={**os.environ, **environment, IN_WORKER: "1"},
            start_new_session=True,  # so that Ctrl-C reaches the parent alone, which ends its workers
        )
        theirs.close()
        self._serves = False
        try:
            ready = self._control.recv(1)
        except BaseException:
            self.close()
            raise
        if not ready:
            code = self._process.wait()
            self.close()
            raise LrscoutError(f"The worker server exited with code {code} while importing {preloaded}.")
        self._serves = True

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> WorkerProcess:
        ours, theirs = socket.socketpair()
        status, their_status = socket.socketpair()
        # without a server, nobody sends a status, which ForkedWorker reports
        with theirs, their_status, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self._control, [b"f"], [theirs.fileno(), their_status.fileno()])
        return ForkedWorker(Connection(ours.detach()), status)

    def close(self) -> None:
        self._control.close()
        try:
            self._process.wait(END_SECONDS if self._serves else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ForkedWorker:
    """A worker that was forked from the server, which reports its pid and then how it ended.

    Raises:
        LrscoutError: the server is gone.
    """

    def __init__(self, connection: Connection, status: socket.socket) -> None:
        self.connection, self._status = connection, status
        self.sentinel = status  # the server reports the end of the worker there
        self._exit_code: int | None = None
        try:
            self.pid = self._receive()
        except LrscoutError:
            connection.close()
            raise

    def wait(self, seconds: float | None) -> int | None:
        if self._exit_code is None:
            self._status.settimeout(seconds)
            try:
                self._exit_code = os.waitstatus_to_exitcode(self._receive())
            except TimeoutError:
                return None
        return self._exit_code

    def _receive(self) -> int:
        try:
            number = self._status.recv(4)
        except ConnectionResetError:
            number = b""
        if not number:
            raise LrscoutError(
                "The worker server was killed from outside, and its workers with it.",
                hint="If the kernel did it to free memory, dmesg says so; close other programs and try again.",
            )
        return int(struct.unpack("i", number)[0])

    def kill(self) -> None:
        if not kill_group(self.pid) and self._exit_code is None:  # it has not made its group yet
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        self._status.close()


class Spawner:
    """Starts every worker as a new interpreter."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**environment, IN_WORKER: "1"}
        self._context = get_context("spawn")

    def start(self) -> WorkerProcess:
        ours, theirs = self._context.Pipe()
        # not daemonic: a daemon may have no children, and DataLoaders have
        process = self._context.Process(target=worker.live, args=(theirs, self._environment))
        with _main_set_aside():
            process.start()
        theirs.close()
        return SpawnedWorker(ours, process)

    def close(self) -> None:
        pass


class SpawnedWorker:
    """A worker with an interpreter of its own."""

    def __init__(self, connection: Any, process: Any) -> None:
        self.connection, self._process = connection, process
        self.pid: int = process.pid
        self.sentinel = process.sentinel

    def wait(self, seconds: float | None) -> int | None:
        self._process.join(seconds)
        code: int | None = self._process.exitcode
        return code

    def kill(self) -> None:
        if hasattr(os, "killpg"):
            kill_group(self.pid)
        self._process.kill()

    def close(self) -> None:
        self._process.close()


@contextmanager
def _main_set_aside() -> Iterator[None]:
    """Keep multiprocessing from running the user's script again in the worker, which does not need it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
