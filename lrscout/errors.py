"""The exceptions that lrscout raises. Exceptions of the user's code are passed through unchanged."""

from __future__ import annotations

from typing import Self


class LrscoutError(Exception):
    """The base class: a message that says what happened, and a hint that says what to do about it.

    `exit_code` is the exit code of the command line: 1 failed, 2 usage or recipe, 3 target, 4 inconclusive.
    """

    exit_code = 1
    shows_cause = False  # whether __cause__ is an exception of the user's code, to be shown with its traceback

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"

    def extended(self, sentence: str) -> LrscoutError:
        """The same error with a sentence added to its message."""
        made = self.saying(f"{self.message} {sentence}", self.hint)
        made.__cause__ = self.__cause__
        return made

    @classmethod
    def saying(cls, message: str, hint: str | None) -> Self:
        """An error of this class, whatever arguments its constructor takes."""
        made = cls.__new__(cls)
        LrscoutError.__init__(made, message, hint=hint)
        return made


class UsageError(LrscoutError):
    """An option, a setting or an argument is invalid."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe is invalid. The message lists every error with file:line:column."""


class RecordError(UsageError):
    """A record cannot be read or written."""


class OutputError(LrscoutError):
    """The result cannot be written to stdout."""


class TargetError(LrscoutError):
    """A target cannot be imported or does not provide a workload."""

    exit_code = 3


class TargetImportError(TargetError):
    """The code of the target raised an exception while it was imported."""

    shows_cause = True


class NoAnswerError(LrscoutError):
    """A search could not determine something that it depends on."""

    exit_code = 4


class WorkloadError(LrscoutError):
    """A workload cannot be trained: for example, the loader is empty or the loss is not a scalar."""


class UserCodeError(LrscoutError):
    """The target's code raised an exception in another process; the cause has its traceback as text."""

    shows_cause = True


class RemoteError(Exception):
    """An exception from another process, with its traceback as text."""

    def __init__(self, summary: str, traceback: str) -> None:
        super().__init__(summary)
        self.traceback = traceback


class ForeignError(Exception):
    """On the way to the end of a command: its cause, an exception that is not lrscout's own.

    typer must not see that one: an EOFError, a BrokenPipeError or a typer.Exit ends a command without a word.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(summary(error))
        self.__cause__ = error


def exited(error: SystemExit) -> WorkloadError:
    """The error of a run in which the target's code called sys.exit."""
    return WorkloadError(
        f"The target's code called sys.exit({error.code!r}) during the run.",
        hint="Raise an exception instead, which shows where it happened.",
    )


def summary(error: BaseException) -> str:
    """The type and the text of an exception, as the last line of its traceback has them."""
    try:
        text = str(error)
    except Exception:  # its __str__ is the user's code too
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def perhaps(name: str, known: list[str] | tuple[str, ...]) -> str | None:
    """A hint with the known name closest to `name`, or None if none is close."""
    import difflib  # takes 10 ms to import; only errors need it

    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean {matches[0]!r}?" if matches else None


def did_you_mean(name: str, known: list[str] | tuple[str, ...]) -> str:
    """A hint with the known name closest to `name`, or with all known names if none is close."""
    listed = f"Available: {', '.join(known)}." if known else "None are available."
    return perhaps(name, known) or listed


class Terminated(KeyboardInterrupt):
    """lrscout was told to end by a signal other than that of Ctrl-C."""
