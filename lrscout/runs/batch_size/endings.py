"""What it says about a batch size that a training command ended in the middle of its trial."""

from __future__ import annotations

import re
from collections.abc import Sequence
from signal import Signals
from typing import Protocol

from lrscout.errors import LrscoutError
from lrscout.processes.attach_errors import CommandEndedError, CommandFailedError, NotAttachedError
from lrscout.processes.deaths import SIGNALLED, Died
from lrscout.processes.memory_errors import NAMED, line_about_memory
from lrscout.results import Outcome, Trial
from lrscout.runs.batch_size.started import OutOfTimeError

# how a process ends whose memory ran out: by the kernel, by abort(), or where it touches what it did not get;
# launchers end the other ranks by SIGTERM
OF_MEMORY = (Signals.SIGKILL, Signals.SIGABRT, Signals.SIGBUS, Signals.SIGSEGV)
TOLD_SIGNAL = re.compile(r"exitcode\s*: -(\d+)|Signal (\d+) \(SIG")  # by torchrun, of one of its ranks
AFTERMATH = ("ChildFailedError", "Connection closed by peer", "Connection reset by peer")
"""What launchers and other ranks say where one rank has failed."""
LONGEST_LINE = 300


class Ended(Protocol):
    """A command that has ended."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines of its output."""

    @property
    def exit_code(self) -> int | None: ...

    @property
    def grown(self) -> int:
        """The bytes by which the memory of its largest process grew."""


def ending_of(
    error: LrscoutError, ended: Ended, batch_size: int, limit_bytes: int | None, fits_below: bool
) -> tuple[Trial, LrscoutError | None]:
    """The trial, and the error where it has to end the search: where no smaller size has run."""
    outcome, reason = _judged(error, ended, limit_bytes)
    if outcome == "failed" and fits_below:
        outcome, reason = "refused", last_words(ended.lines) or reason
    trial = Trial(batch_size, outcome, None, None, 0.0, _steps(error), reason=reason[:LONGEST_LINE])
    return trial, error if outcome == "failed" else None


def _judged(error: LrscoutError, ended: Ended, limit_bytes: int | None) -> tuple[Outcome, str]:
    said = line_about_memory(ended.lines, limited=limit_bytes is not None)
    if said is not None:
        return "out_of_memory", said
    if isinstance(error, OutOfTimeError):
        return "timeout", error.message
    signal = _signal(ended)
    died = Died(None if signal is None else -signal, ended.grown, limit_bytes)
    if signal is not None and died.was_near_limit:
        return "killed" if died.was_killed else "out_of_memory", f"The program {died}."
    by_itself = isinstance(error, (CommandEndedError, NotAttachedError)) and not isinstance(error, CommandFailedError)
    return "too_few_steps" if by_itself else "failed", error.message


def _signal(ended: Ended) -> int | None:
    """The signal that ended the program, or one of its ranks, as where memory ran out; None if none did."""
    told = [int(found[1] or found[2]) for line in ended.lines if (found := TOLD_SIGNAL.search(line))]
    code = ended.exit_code or 0
    own = -code if code < 0 else code - SIGNALLED
    return next((each for each in (*told, own) if each in OF_MEMORY), None)


def last_words(lines: Sequence[str]) -> str | None:
    """The line that names the program's exception; None if no line does."""
    named = [line for line in lines if NAMED.match(line) and not any(word in line for word in AFTERMATH)]
    return re.sub(r"^\s*\[rank\d+\]:\s*", "", named[-1]).strip() if named else None


def _steps(error: LrscoutError) -> int:
    return error.steps if isinstance(error, CommandEndedError) else 0
