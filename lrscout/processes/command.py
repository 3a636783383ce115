"""A training program that somebody else wrote, with the search attached to the optimizer inside it."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from lrscout.errors import LrscoutError
from lrscout.processes import attach_errors
from lrscout.processes.connections import Connections
from lrscout.processes.driving import AttachedSession, shares_of
from lrscout.processes.launch_environment import launch_environment
from lrscout.processes.listener import Listener
from lrscout.processes.ranks import Attachment, Measured, OptimizerFacts, asked, attachment_of
from lrscout.processes.supervised import SupervisedCommand
from lrscout.processes.transport import lines_of
from lrscout.processes.waiting import speakers

LOG = logging.getLogger("lrscout")
END_SECONDS = 5.0  # for the program to end by itself, once it is asked
AFTERMATH_SECONDS = 2.0  # for a command to end after one of its ranks: its exit code says why


class AttachedCommand:
    """Runs a command and attaches to the optimizers in it; a context manager, after which nothing of it is running.

    `timeout` is in seconds, to the first optimizer step, and `patience` from one step to the next; by default they
    agree. `environment` is added to this process's own. Ranks on other machines reach lrscout at `listen`, HOST or
    HOST:PORT. Files from before `since`, in seconds since the epoch, are put back afterwards. `measured` is a
    type of device ("any" where it is not known yet) and a limit in bytes: memory is counted and limited there from when
    torch has been imported. While the command is waited for, `on_wait` is called several times a second; what it raises
    ends the waiting. `subject` is what messages call it.

    Raises:
        UsageError: the command cannot be started, or lrscout cannot listen there.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float = 600.0,
        patience: float | None = None,
        keep_environment: bool = False,
        since: float | None = None,
        listen: str | None = None,
        measured: tuple[str, int | None] | None = None,
        on_output: Callable[[str], None] | None = None,
        on_wait: Callable[[], None] | None = None,
        subject: str = "The command",
    ) -> None:
        self._timeout, self._patience = timeout, timeout if patience is None else patience
        self._on_wait, self._subject = on_wait, subject
        self._attachment: Attachment | None = None
        self._session: AttachedSession | None = None
        self._error: LrscoutError | None = None  # there is nothing to listen to any more
        self._closed = False
        self._interrupted = False
        self._listener = Listener(listen)
        self._connections = Connections(self._listener)
        self._ranks = self._connections.ranks
        try:
            surroundings = launch_environment(
                self._listener,
                self._connections.token,
                cwd or ".",
                environment,
                keep=keep_environment,
                since=since,
                measured=measured,
            )
            self._command = SupervisedCommand(argv, cwd, surroundings, on_output)
        except BaseException:
            self._listener.close()
            raise

    def __enter__(self) -> AttachedCommand:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where its processes connect."""
        return self._listener.address

    @property
    def output(self) -> tuple[str, ...]:
        """The last lines that the command has printed, and what one of its processes has failed with."""
        return (*self._command.lines, *lines_of(self._connections.failure))

    @property
    def exit_code(self) -> int | None:
        """The command's exit code, minus the signal's number where a signal killed it; None while it is running."""
        return self._command.exit_code

    @property
    def measured_processes(self) -> tuple[int, ...]:
        """The ids of the processes on this machine in which memory is counted, those that have ended too."""
        return self._listener.pids("measured")

    @property
    def steps(self) -> int:
        """The steps that were taken, over all sessions."""
        return min((rank.steps for rank in self._ranks), default=0)

    @property
    def late(self) -> tuple[OptimizerFacts, ...]:
        """The optimizers that were made after the first step, and step; no session drives them."""
        return tuple(self._ranks[0].announced) if self._ranks else ()

    @property
    def stepping(self) -> frozenset[int]:
        """The numbers of the optimizers that have taken steps, their own or driven ones."""
        return frozenset(self._ranks[0].stepping) if self._ranks else frozenset()

    def attach(self, keep: bool = True) -> Attachment:
        """Wait until every rank has come to its first optimizer step, and stands there.

        The state at that step is what sessions can `restore`; without `keep` it is not copied.

        Raises:
            NotAttachedError: the command ended, or the time was over, before that.
            CommandFailedError: it failed by itself.
            UsageError: its optimizer is none that a rate can be searched for.
        """
        deadline = monotonic() + self._timeout
        while not self._is_complete():
            if (seconds := deadline - monotonic()) <= 0:
                here, expected = len(self._ranks), self._ranks[0].world_size if self._ranks else 1
                raise attach_errors.timed_out(
                    self._subject, self._timeout, here, expected, self._listener.seen(), self.output
                )
            self._listen(seconds)
        self._ranks.sort(key=lambda rank: rank.number)
        self._attachment = attachment_of(self._ranks)
        if keep:
            self._tell(keep=1)
        return self._attachment

    def fingerprint(self) -> str:
        """What tells the present weights of two runs apart, on all ranks together; before the first session."""
        return "-".join(asked(self._ranks, self._listen, "fingerprint", fingerprint=1))

    def measure(self, last: bool = False) -> tuple[Measured, ...]:
        """What each rank has measured since it was last asked; after the `last` time, none measures any more.

        The command must have been started with `measured`.
        """
        return tuple(asked(self._ranks, self._listen, "measured", measure="last" if last else "on"))

    def session(self, *drive: int, real: bool = False) -> AttachedSession:
        """Drive the optimizers of these numbers; all others go on at their own rates. Ends the session before it.

        The first of them leads. By default, that is the one that stepped first, alone. `real` is that of the session.
        """
        assert self._attachment is not None
        if self._session is not None:
            self._session.losses(wait=True)
        shares = shares_of(self._attachment.optimizers, drive or (0,))
        self._session = AttachedSession(
            self._ranks, shares, self._listen, real, own=self._attachment.program is not None
        )
        return self._session

    def release(self, lr: float | None) -> None:
        """Let the program go on at this rate, or at its own; no more losses are told."""
        self._tell(release=lr)

    def interrupt(self) -> None:
        """Send the command SIGINT, as Ctrl-C in its terminal would."""
        self._command.interrupt()

    def terminate(self) -> None:
        """Send SIGTERM to the command and its ranks, but not to their workers, without which they could not save."""
        self._command.terminate_alone()
        for rank in self._ranks:
            rank.terminate()

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit code, once the command has ended by itself; None if it has not within so many seconds."""
        end = monotonic() + (math.inf if seconds is None else seconds)
        while self.exit_code is None and (left := end - monotonic()) > 0:
            self._hear(left)  # a further process of it may come, and is not to wait
        return self.exit_code

    def close(self) -> None:
        """End the command: from inside where it has got that far, then by force."""
        if self._closed:
            return
        self._closed = True
        try:
            for rank in self._connections.everybody:
                rank.send(end=1)
            self._command.end(END_SECONDS if self._connections.everybody and not self._interrupted else 0)
        finally:
            self._command.kill()
            for rank in self._connections.everybody:
                rank.close()
            self._listener.close()
        if self._command.restored:
            LOG.warning("The command changed files that were put back: %s", ", ".join(self._command.restored))

    def _tell(self, **message: object) -> None:
        for rank in self._ranks:
            rank.send(**message)

    def _is_complete(self) -> bool:
        return bool(self._ranks) and len(self._ranks) == self._ranks[0].world_size

    def _listen(self, seconds: float | None) -> None:
        """Take in what the ranks and the supervisor say within so many seconds; None waits for something to be said.

        Raises:
            LrscoutError: the command has ended, a rank is lost, or it cannot be searched in.
        """
        if self._error is not None:
            raise self._error
        if self._command.exit_code is not None:  # which may have been told already while it was started
            seconds = 0
        try:
            spoken = self._hear(self._patience if seconds is None else seconds)
            self._check()
            if seconds is None and not spoken:
                raise attach_errors.stalled(self._subject, self._patience, self.steps, self.output)
        except LrscoutError as error:
            self._error = error
            raise

    def _hear(self, seconds: float) -> bool:
        """Take in what is said within so many seconds; whether anything was."""
        present = [rank for rank in self._connections.everybody if not rank.gone]
        try:
            speaking: list[Any] = speakers((self._listener, self._command, *present), seconds, self._on_wait)
        except KeyboardInterrupt:
            self._interrupted = True  # nobody wants to wait
            raise
        for speaker in speaking:
            if speaker is self._listener:
                self._connections.accept()
            else:
                speaker.listen()
        self._connections.admit(awaited=self._attachment is None)
        return bool(speaking)

    def _check(self) -> None:
        for rank in self._ranks:
            if rank.refusal is not None:
                raise attach_errors.refused(rank.refusal, self.steps)
        lost = next((rank for rank in self._ranks if rank.gone), None)
        if lost is None and self._command.exit_code is None:
            return
        code = self.wait(AFTERMATH_SECONDS)
        if code is not None:
            self._command.kill()  # and with it, its last lines are here
        who = self._subject if self._connections.dead is None else f"Rank {self._connections.dead}"
        if self._attachment is None and (code == 0 or lost is None):
            raise attach_errors.never_stepped(who, code, self._listener.seen(), self.output)
        raise attach_errors.ended(code, self.steps, lost.number if lost is not None else 0, self.output, who)
