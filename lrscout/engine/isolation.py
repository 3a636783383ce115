"""Trials in processes of their own: what takes one down leaves the search standing.

Nothing here imports torch or user code: that is for the processes that are forked from the trial server.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any

from lrscout.engine.process_status import GrowthWatch
from lrscout.engine.requests import EstimateRequest, Facts, Request, ShapeEstimate, cannot_travel
from lrscout.errors import LrscoutError, RemoteError, TrialError, WorkloadError
from lrscout.results import Outcome, Target, Trial
from lrscout.settings import FindBatchSizeSettings

TICK = 0.1  # seconds between two looks at a trial under way
NEAR = 0.8  # of the limit, from which on a process that died is taken to have died of it
MMAP_THRESHOLD = "65536"  # fixed: with glibc's own moving one, the peak does not follow the batch size
START = "import sys, json; sys.path[:] = json.loads(sys.argv[2]); " + (
    "from lrscout.engine.trial_server import main; main(int(sys.argv[1]))"
)
IN_TRIAL = "LRSCOUT_IN_TRIAL"


@dataclass(frozen=True, slots=True)
class _Death:
    """A process that ended without an answer."""

    status: int  # as os.waitpid gives it
    near_limit: bool
    timed_out: bool

    def __str__(self) -> str:
        if os.WIFSIGNALED(self.status):
            number = os.WTERMSIG(self.status)
            return f"The trial's process was killed by signal {number} ({signal.strsignal(number)})."
        return f"The trial's process ended itself with code {os.WEXITSTATUS(self.status)}."


class TrialServer:
    """The process that loads torch once and is forked for every child (lrscout.engine.trial_server).

    Raises:
        LrscoutError: it cannot be started.
    """

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(theirs.fileno()), json.dumps(sys.path)],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "MALLOC_MMAP_THRESHOLD_": MMAP_THRESHOLD, IN_TRIAL: "1"},
            start_new_session=True,  # Ctrl-C is for the search alone, which ends its trials
        )
        theirs.close()
        try:
            ready = self.control.recv(1)
        except BaseException:
            self.close()
            raise
        if not ready:
            raise LrscoutError(f"The process for trials ended with code {self._process.wait()} while it loaded torch.")

    def close(self) -> None:
        self.control.close()
        self._process.kill()
        self._process.wait()


class IsolatedTrials:
    """Runs trials of a dotted path in children: on the CPU one a trial, elsewhere one until something breaks it."""

    def __init__(
        self, server: TrialServer, target: Target, settings: FindBatchSizeSettings, on_wait: Callable[[], None]
    ) -> None:
        self.failure: BaseException | None = None
        self._reuse = False
        self._target, self._settings, self._on_wait = target, settings, on_wait
        self._child: _Child | None = None
        self._server = server

    def close(self) -> None:
        """End all processes, the server too."""
        self.end_child()
        self._server.close()

    def inspect(self) -> Facts:
        """Look at the target in a child; where the device is no CPU, the same child will run the trials.

        Raises:
            LrscoutError: what the target or its data made impossible.
            TrialError: the target's code raised.
        """
        facts: Facts = self._asked(None)
        self._reuse = self._settings.isolate == "auto" and facts.environment["device"] != "cpu"
        if not self._reuse:
            self.end_child()
        return facts

    def estimate(self, request: EstimateRequest) -> ShapeEstimate:
        """What a step would take, found out in a child; nothing is run.

        Raises:
            LrscoutError: it cannot be told from shapes.
        """
        answer: ShapeEstimate = self._asked(request)
        return answer

    def run(self, request: Request) -> Trial:
        """Run a trial; what ends its process is its outcome."""
        reused = self._child is not None
        started = monotonic()
        answer, self.failure = self._ask(request)
        if isinstance(answer, _Death):
            outcome = _outcome_of(answer)
            answer = Trial(request.batch_size, outcome, None, None, monotonic() - started, 0, reason=str(answer))
            if outcome == "failed":
                self.failure = WorkloadError(answer.reason or "", hint="What it printed last stands above.")
        trial: Trial = replace(answer, seconds=monotonic() - started)
        if not self._reuse or trial.outcome in ("failed", "killed", "timeout"):
            self.end_child()
        if trial.outcome == "failed" and reused:  # what a lost device context says is not the trial's own word
            self._reuse = False
            return self.run(request)
        return trial

    def _asked(self, request: EstimateRequest | None) -> Any:
        """The answer to what is no trial."""
        answer, error = self._ask(request)
        if error is not None:
            raise error
        if isinstance(answer, _Death):
            if answer.timed_out:
                message = f"Building the target took more than {self._settings.timeout:g} s."
                raise WorkloadError(message, hint="Raise --timeout, or make build() faster.")
            raise WorkloadError(f"{answer} It was building the target.")
        return answer

    def _ask(self, request: Request | EstimateRequest | None) -> tuple[Any, BaseException | None]:
        """Send a request to a child; returns its answer or its death, and the exception behind a failure."""
        try:
            if self._child is None:
                self._child = _Child(self._server.control)
            limit = request.limit_bytes if isinstance(request, Request) else None
            answer = self._child.ask(
                (self._target, self._settings, request), self._settings.timeout, limit, self._on_wait
            )
        except BaseException:  # Ctrl-C above all
            self.end_child()
            raise
        if isinstance(answer, _Death):
            self._child = None
            return answer, None
        given, ours, shown = answer
        return given, _error_of(ours, shown)

    def end_child(self) -> None:
        """End the process that waits for another trial, where there is one."""
        if self._child is not None:
            self._child.end()
            self._child = None


class _Child:
    """One process for trials."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        try:
            with theirs:
                socket.send_fds(control, [b"t"], [theirs.fileno()])
            self.pid: int = self._connection.recv()
        except (EOFError, ConnectionResetError, BrokenPipeError):
            self._connection.close()
            raise _server_gone() from None

    def ask(self, message: Any, timeout: float, limit: int | None, on_wait: Callable[[], None]) -> Any:
        """The child's answer, or its _Death.

        Raises:
            LrscoutError: the server died, or the message cannot be sent to another process.
        """
        deadline = monotonic() + timeout
        watch = GrowthWatch(self.pid)
        timed_out = False
        try:
            self._send(message)
            while not self._connection.poll(TICK):
                on_wait()
                watch.look()
                if monotonic() > deadline and not timed_out:
                    timed_out = True
                    self._kill()
            return self._connection.recv()
        except (EOFError, ConnectionResetError, BrokenPipeError):
            status = self.end()
            if status is None:
                raise _server_gone() from None
            return _Death(status, _near(watch.grown, limit), timed_out)

    def _send(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise cannot_travel(error) from None

    def end(self) -> int | None:
        """End the process and all that it started; returns how it ended, None where the server that knows is gone."""
        self._connection.close()  # an idle child leaves by itself
        self._control.settimeout(2 * TICK)
        try:
            status = self._control.recv(4)
        except TimeoutError:
            self._kill()
            self._control.settimeout(None)
            status = self._control.recv(4)
        except ConnectionResetError:
            status = b""
        self._control.settimeout(None)
        self._kill()  # workers that were left behind
        return int(struct.unpack("i", status)[0]) if status else None

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _server_gone() -> LrscoutError:
    return LrscoutError(
        "The process that all trials are forked from was ended from outside, and the trial with it.",
        hint="Where the kernel did it, for memory, its log (dmesg) says so; close other programs and run it again.",
    )


def _near(grown: int, limit: int | None) -> bool:
    return limit is not None and grown >= NEAR * limit


def _outcome_of(death: _Death) -> Outcome:
    if death.timed_out:
        return "timeout"
    if not death.near_limit:
        return "failed"
    return "killed" if os.WIFSIGNALED(death.status) and os.WTERMSIG(death.status) == signal.SIGKILL else "out_of_memory"


def _error_of(ours: LrscoutError | None, shown: tuple[str, str] | None) -> BaseException | None:
    """The exception that came over, with its cause as text."""
    if ours is None and shown is None:
        return None
    error = ours if ours is not None else TrialError(f"The target's code failed with {shown[0] if shown else ''}.")
    if shown is not None:
        error.__cause__ = RemoteError(*shown)
    return error
