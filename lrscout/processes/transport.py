"""How objects travel between processes; exceptions travel as text, with the traceback trimmed to the user's code."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from lrscout import errors
from lrscout.errors import LrscoutError, RemoteError, UsageError, UserCodeError, summary
from lrscout.tracebacks import user_traceback


def send(connection: Connection, message: object) -> None:
    """Send a message as `packed` makes it."""
    connection.send_bytes(packed(message))


def packed(message: object) -> memoryview:
    """A message, pickled, whose exceptions, wherever they are in it, can be raised again on the other side.

    An exception class of the user's may not be importable there, and a live traceback keeps tensors alive.
    """
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(message)
    return buffer.getbuffer()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        return (_revived, _reduced(value)) if isinstance(value, BaseException) else NotImplemented


def told(error: BaseException, where: str = "") -> list[Any]:
    """An exception as plain values, for `heard`; `where` is a place that the user's code is said to have failed at."""
    kind, *rest = _reduced(error, where)
    known = next(each for each in kind.__mro__ if each.__module__ == errors.__name__)
    return [known.__name__, *rest]


def heard(values: Sequence[Any]) -> LrscoutError:
    """The exception that was told."""
    kind, *rest = values
    return _revived(getattr(errors, kind), *rest)


def lines_of(error: LrscoutError | None) -> list[str]:
    """The lines of an exception that was told: those of a traceback, where the user's code raised it."""
    cause = None if error is None else error.__cause__
    return str(cause.traceback if isinstance(cause, RemoteError) else error or "").splitlines()


def _reduced(error: BaseException, where: str = "") -> tuple[Any, ...]:
    ours = error if isinstance(error, LrscoutError) else None
    theirs = error if ours is None else ours.__cause__ if ours.shows_cause else None
    shown = None if theirs is None else (summary(theirs), user_traceback(theirs))
    if ours is None:
        return UserCodeError, f"The target's code failed{where} with {summary(error).removesuffix('.')}.", None, shown
    # a class of the user's cannot be imported on the other side
    kind = next(kind for kind in type(ours).__mro__ if kind.__module__.partition(".")[0] == __name__.partition(".")[0])
    return kind, ours.message, ours.hint, shown


def _revived(kind: type[LrscoutError], message: str, hint: str | None, shown: Sequence[str] | None) -> LrscoutError:
    error = kind.saying(message, hint)
    if shown is not None:
        error.__cause__ = RemoteError(*shown)
    return error


def cannot_travel(error: Exception) -> UsageError:
    """For arguments that cannot be pickled here, or unpickled there: a class of the caller's script, say."""
    return UsageError(
        f"The target's arguments cannot be sent to another process: {error}.",
        hint="Define them in an importable module, or use isolate='never' or jobs=1.",
    )
