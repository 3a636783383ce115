"""Tracebacks of the user's code, without the frames that are none of the user's business."""

from __future__ import annotations

import importlib
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from traceback import FrameSummary, StackSummary, TracebackException
from types import FrameType

from lrscout.errors import RemoteError

BUG = "This looks like a bug in lrscout: please report it with the lines above."


def user_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, cut to the user's frames.

    Where there is none of them, the bug is lrscout's own: then every frame is shown.
    """
    if isinstance(error, RemoteError):
        return error.traceback
    shown = TracebackException.from_exception(error, compact=True)
    members = list(_members(shown))
    # a SyntaxError names the user's file itself, without a frame in it
    if not any(isinstance(m.stack, StackSummary) and any(map(_is_users, m.stack)) for m in members) and not any(
        m.exc_type is not None and issubclass(m.exc_type, SyntaxError) for m in members
    ):
        return "".join(shown.format()) + BUG
    for member in members:
        kept = [frame for frame in member.stack[_users_begin(member.stack) :] if not _is_ours(frame)]
        first = next((i for i, frame in enumerate(kept) if _is_users(frame)), 0)
        kept = kept[first:]  # the standard library between our code and the user's
        # None: format() then leaves out the "Traceback" line above nothing
        member.stack = StackSummary.from_list(kept) if kept else None  # type: ignore[assignment]
    return "".join(shown.format()).rstrip("\n") + _unprintable_text(error) + _about_input(error)


def _users_begin(stack: Sequence[FrameSummary]) -> int:
    """Where we call what the user has given for the last time: torch may stand between two of our frames."""
    last = max((place for place, frame in enumerate(stack) if _is_ours(frame)), default=-1)
    return 0 if any(_is_own_file(frame) for frame in stack[: last + 1]) else last + 1


def users_place(frame: FrameType | None) -> str | None:
    """Where the user's code is, of which a frame is running: file:line in function; None where there is none of it."""
    while frame is not None:
        summary = FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name, lookup_line=False)
        if _is_own_file(summary):
            return f"{summary.filename}:{summary.lineno} in {summary.name}"
        frame = frame.f_back
    return None


def _about_input(error: BaseException) -> str:
    """What an input() in the user's code should be replaced by."""
    asked = isinstance(error, EOFError) and error.args == ("EOF when reading a line",)
    return "\nThere is no standard input here: pass what the target asks for with -k name=value." if asked else ""


def _unprintable_text(error: BaseException) -> str:
    """What an exception carries whose own __str__ fails: that of a loader's worker has its traceback there."""
    try:
        str(error)
    except Exception:
        return "".join(f"\n{text}" for text in error.args if isinstance(text, str)).rstrip("\n")
    return ""


def _members(shown: TracebackException) -> Iterator[TracebackException]:
    """The exception, what it was raised from or during, and the members of groups."""
    waiting: list[TracebackException | None] = [shown]
    while waiting:
        member = waiting.pop()
        if member is not None:
            yield member
            waiting += [member.__cause__, member.__context__, *(getattr(member, "exceptions", None) or ())]


def _is_ours(frame: FrameSummary) -> bool:
    """Whether the frame belongs to lrscout or to what stands between it and the user's code."""
    if frame.filename.startswith("<frozen importlib"):
        return True
    path = Path(frame.filename)
    return any(path.is_relative_to(folder) for folder in _our_folders())


def _is_users(frame: FrameSummary) -> bool:
    return not (_is_ours(frame) or _is_standard_library(frame))


def _our_folders() -> tuple[Path, ...]:
    package = Path(__file__).parent
    return package, Path(sysconfig.get_path("purelib")) / "typer", Path(importlib.__file__).parent


def _is_own_file(frame: FrameSummary) -> bool:
    """Whether the frame is in a file of the user's own, and not in a package that is installed."""
    return _is_users(frame) and not {"site-packages", "dist-packages"} & set(Path(frame.filename).parts)


def _is_standard_library(frame: FrameSummary) -> bool:
    if frame.filename.startswith("<frozen"):
        return True
    path = Path(frame.filename)
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return path.is_relative_to(sysconfig.get_path("stdlib"))
