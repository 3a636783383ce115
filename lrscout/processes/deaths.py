"""How a process ended that did not answer: the one account of it."""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass

from lrscout.errors import LrscoutError

SIGNALLED = 128  # and the signal's number: the exit code by which a shell tells what killed a command
NEAR = 0.8  # of the memory limit: a process that had grown this far is taken to have died of it


@dataclass(frozen=True, slots=True)
class Died:
    """A process that ended without an answer, or whose memory ran out."""

    exit_code: int | None  # minus the signal's number where a signal killed it; None where it lives
    grown_bytes: int = 0  # its memory, since the request was sent
    limit_bytes: int | None = None
    timed_out_after: float | None = None  # seconds
    out_of_memory: str | None = None  # its own words
    account: str | None = None  # how, as somebody else tells it who started the process
    output: str | None = None  # where its output is, if it was not shown

    @property
    def signal(self) -> int | None:
        """The number of the signal that killed it."""
        return -self.exit_code if self.exit_code is not None and self.exit_code < 0 else None

    @property
    def was_killed(self) -> bool:
        """Whether it was killed from outside: by the kernel, where memory is short."""
        return self.signal == signals.Signals.SIGKILL

    @property
    def was_near_limit(self) -> bool:
        """Whether it had taken most of the memory that it was allowed."""
        return self.limit_bytes is not None and self.grown_bytes >= NEAR * self.limit_bytes

    @property
    def hint(self) -> str:
        """Where to look for the reason."""
        crashed = self.signal is not None and not self.was_killed
        where = " With PYTHONFAULTHANDLER=1 in the environment, it says where it crashed." if crashed else ""
        return f"See its output {self.output or 'above'}.{where}"

    def __str__(self) -> str:
        if self.out_of_memory is not None:
            return f"ran out of memory: {self.out_of_memory}"
        if self.account is not None:
            return self.account
        if self.timed_out_after is not None:
            return f"exceeded its time limit of {self.timed_out_after:g} s"
        if self.signal is None:
            return f"exited with code {self.exit_code}"
        known = {each.value: each.name for each in signals.Signals}  # those of real time have no names
        name = known.get(self.signal, f"signal {self.signal}")
        return f"was killed by {name}{' (perhaps out of memory)' if self.was_killed else ''}"


class WorkerDiedError(LrscoutError):
    """The process that worked on a request died, as often as it was tried."""

    def __init__(self, died: Died) -> None:
        super().__init__(f"The process {died}.", hint=died.hint)
        self.died = died
