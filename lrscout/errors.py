"""Errors that lrscout raises about its use; a user's own exceptions pass through untouched."""

from __future__ import annotations


class LrscoutError(Exception):
    """Something went wrong that lrscout can explain: what happened, and the next thing to try.

    `exit_code` is what the command line exits with: 1 failed, 2 usage or recipe, 3 target, 4 inconclusive.
    """

    exit_code = 1
    shows_cause = False  # whether the exception behind it is the user's own, to be shown with its traceback

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"

    def extended(self, sentence: str) -> LrscoutError:
        """The same error with a sentence added to its message."""
        made = type(self)(f"{self.message} {sentence}", hint=self.hint)
        made.__cause__ = self.__cause__
        return made


class UsageError(LrscoutError):
    """An option, a setting or an argument that cannot be used."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe with mistakes; the message lists every one with file:line:column."""


class RecordError(UsageError):
    """A record that cannot be read, or a place where none can be written."""


class TargetError(LrscoutError):
    """A target that cannot be imported, or that does not give a workload."""

    exit_code = 3


class TargetImportError(TargetError):
    """The target's own code failed while it was imported."""

    shows_cause = True


class NoAnswerError(LrscoutError):
    """Something that a search begins with could not be found out."""

    exit_code = 4


class WorkloadError(LrscoutError):
    """A workload that loads but cannot be stepped: an empty loader, a loss that is no scalar."""


class UserCodeError(LrscoutError):
    """The target's own code failed in another process; the cause carries its traceback as text."""

    shows_cause = True


class RemoteError(Exception):
    """An exception in another process, whose traceback came over as text."""

    def __init__(self, summary: str, traceback: str) -> None:
        super().__init__(summary)
        self.traceback = traceback


def closest(name: str, known: list[str] | tuple[str, ...]) -> str | None:
    """The known name that `name` was probably meant to be, or None."""
    import difflib  # costs 10 ms to import, and only errors need it

    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return matches[0] if matches else None


def perhaps(name: str, known: list[str] | tuple[str, ...]) -> str | None:
    """A hint that offers the closest known name, or None where none is close."""
    match = closest(name, known)
    return None if match is None else f"Did you mean {match!r}?"


def did_you_mean(name: str, known: list[str] | tuple[str, ...]) -> str:
    """A hint that offers the closest known name, or lists all of them."""
    meant = perhaps(name, known)
    if meant is not None:
        return meant
    return f"Known: {', '.join(known)}." if known else "There is none to choose from."
