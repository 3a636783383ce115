"""How objects travel between processes; exceptions travel as text, with the traceback trimmed to the user's code."""

from __future__ import annotations

import io
import pickle
from multiprocessing.connection import Connection
from typing import Any

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
        return _reduced(value) if isinstance(value, BaseException) else NotImplemented


def _reduced(error: BaseException) -> tuple[Any, ...]:
    ours = error if isinstance(error, LrscoutError) else None
    theirs = error if ours is None else ours.__cause__ if ours.shows_cause else None
    shown = None if theirs is None else (summary(theirs), user_traceback(theirs))
    if ours is None:
        return _revived, (UserCodeError, f"The target's code failed with {summary(error)}.", None, shown)
    # a class of the user's cannot be imported on the other side
    kind = next(kind for kind in type(ours).__mro__ if kind.__module__.partition(".")[0] == __name__.partition(".")[0])
    return _revived, (kind, ours.message, ours.hint, shown)


def _revived(kind: type[LrscoutError], message: str, hint: str | None, shown: tuple[str, str] | None) -> LrscoutError:
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
