"""A command that somebody else wrote, run to be ended: its output, its exit code, and its end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from io import TextIOWrapper
from threading import Thread
from time import monotonic

from lrscout.errors import UsageError
from lrscout.processes import supervisor

KEPT_LINES = 300  # of the output: a launcher's report stands after the tracebacks of all ranks
TERM_SECONDS = 1.0  # between SIGTERM and SIGKILL
JOIN_SECONDS = 2.0  # for the last lines; on systems without /proc, an escaped process may hold the pipe open


class SupervisedCommand:
    """Starts a command under the supervisor, which kills it, with all that it started, when this process ends.

    `on_output` receives its standard output and error, line by line, in a thread.

    Raises:
        UsageError: the command cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        cwd: str | os.PathLike[str] | None,
        environment: Mapping[str, str],
        on_output: Callable[[str], None] | None,
    ) -> None:
        self.pid = 0
        self.restored: Sequence[str] = ()  # files that were put back after its end
        self.exit_code: int | None = None  # minus the signal's number where a signal killed it
        self._failure: str | None = None
        self._is_silent = False  # there is no supervisor any more
        self._buffer = b""
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._on_output = on_output
        self._control, theirs = socket.socketpair()
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                # isolated, and without site: it starts in milliseconds, and runs no sitecustomize
                [sys.executable, "-I", "-S", supervisor.__file__, str(theirs.fileno()), *argv],
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # so that Ctrl-C reaches this process alone, which then ends the command
            )
        except (OSError, ValueError) as error:  # ValueError: a word has a NUL, or half of a pair of surrogates
            os.close(reading)
            self._control.close()
            reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)
            raise _cannot_start(argv, reason) from None
        finally:
            theirs.close()
            os.close(writing)
        self._thread = Thread(target=self._relay, args=(reading,), daemon=True)
        self._thread.start()
        try:
            while not self.pid:
                self.listen()
                if self._failure is not None:
                    raise _cannot_start(argv, self._failure)
        except BaseException:
            self.kill()
            raise

    def fileno(self) -> int:
        return self._control.fileno()

    def listen(self) -> None:
        """Take in what the supervisor says; waits for it."""
        try:
            data = self._control.recv(4096)
        except OSError:
            data = b""
        self._is_silent = not data
        if not data and self.exit_code is None:  # the supervisor was killed; nobody knows what became of the command
            self.exit_code = -9
            self._failure = "its supervisor was killed"
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            self.pid = message.get("pid", self.pid)
            self.exit_code = message.get("exit", self.exit_code)
            self.restored = message.get("restored", self.restored)
            self._failure = message.get("failed", self._failure)

    def wait(self, seconds: float) -> int | None:
        """The exit code; None if the command is still running by then."""
        deadline = monotonic() + seconds
        while self.exit_code is None:
            if not select.select([self._control], [], [], max(0.0, deadline - monotonic()))[0]:
                return None
            self.listen()
        return self.exit_code

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines of its output; all of them are here once the command has been killed."""
        return tuple(self._lines)

    def interrupt(self) -> None:
        """Send it SIGINT, as Ctrl-C does to a command in a terminal."""
        self._send(b"i")

    def terminate(self) -> None:
        """Send SIGTERM to it and to all that it has started."""
        self._send(b"t")

    def terminate_alone(self) -> None:
        """Send SIGTERM to the command itself, and to nothing that it has started."""
        self._send(b"a")

    def end(self, seconds: float) -> None:
        """Wait so long for it to end by itself, then terminate, then kill; afterwards nothing of it is running."""
        try:
            if self.wait(seconds) is None:
                self.terminate()
                self.wait(TERM_SECONDS)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill it, and everything it has started."""
        with contextlib.suppress(OSError):  # the supervisor has ended by itself
            self._control.shutdown(socket.SHUT_WR)
        self._process.wait()
        self._thread.join(JOIN_SECONDS)
        while not self._is_silent:  # it told its last before it ended
            self.listen()
        self._control.close()

    def _send(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # the command has ended, and its supervisor with it
            self._control.send(word)

    def _relay(self, descriptor: int) -> None:
        # universal newlines: progress bars end their lines by a carriage return
        with TextIOWrapper(os.fdopen(descriptor, "rb"), encoding="utf-8", errors="replace", newline=None) as output:
            for line in output:
                text = line.rstrip("\n")
                self._lines.append(text)
                if self._on_output is not None:
                    with contextlib.suppress(Exception):  # else the pipe fills, and the program waits forever
                        self._on_output(text)


def _cannot_start(argv: Sequence[str], reason: str) -> UsageError:
    name = argv[0]
    hint = "What comes after -- is run as it stands, without a shell: use `-- bash -c '...'` for what needs one."
    if name.endswith(".py") and os.path.exists(name):
        hint = f"To run a script, name its Python: -- python {name}"
    return UsageError(f"The command {name!r} cannot be started: {reason}.", hint=hint)
