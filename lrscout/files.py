"""Files of the user's: written atomically, and checked for that before a long run."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from lrscout.errors import RecordError


def write_text(path: Path, text: str) -> None:
    """Write a file of text as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically, or write to a device or a pipe.

    Raises:
        RecordError: the file cannot be written.
    """
    try:
        if is_stream(path):
            path.write_bytes(data)
        else:
            _replace(real_path(path), data)
    except OSError as error:
        raise RecordError(f"Cannot write {path}: {error.strerror or error}.") from error


def _replace(place: Path, data: bytes) -> None:
    """Write a new file and move it into place, so that even after a power cut there is the old one or the new one."""
    old = place.stat() if place.exists() else None
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode)
    temporary = place.with_name(f".lrscout-{secrets.token_hex(8)}")  # nobody can have put a link there
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "wb") as file:
            if old is not None:
                _take_over(descriptor, old)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # not every file system can do it
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _take_over(descriptor: int, old: os.stat_result) -> None:
    """Give an open file the owner and the mode of the file that it will replace, as far as we may."""
    if hasattr(os, "fchown"):  # not on Windows
        with suppress(OSError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
        with suppress(OSError):
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def append_text(path: Path, text: str) -> None:
    """Append to a file that other programs write to as well.

    Raises:
        RecordError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    except OSError as error:
        raise RecordError(f"Cannot write {path}: {error.strerror or error}.") from error


def check_writable(path: Path) -> None:
    """Check that a file can be written, before a long run whose output goes there.

    Raises:
        RecordError: the file cannot be written.
    """
    place = real_path(path)
    if os.path.isdir(path):
        raise RecordError(f"Cannot write {path}: it is a folder.", hint="Add the name of a file.")
    if not os.path.isdir(place.parent):
        raise RecordError(f"Cannot write {path}: the folder {place.parent} does not exist.", hint="Create it first.")
    needed = [path] if os.path.exists(path) else []
    if not is_stream(path):
        needed.append(place.parent)  # a new file replaces the old one
        try:
            os.lstat(place)
        except FileNotFoundError:
            pass
        except OSError as error:  # its name is too long
            raise RecordError(f"Cannot write {path}: {error.strerror}.") from error
    for needs in needed:
        if not os.access(needs, os.W_OK):
            raise RecordError(f"Cannot write {path}: permission denied for {needs}.")


def check_folder(path: Path) -> None:
    """Check that a folder can be written to, or made.

    Raises:
        RecordError: it cannot.
    """
    there = path.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not os.path.isdir(there):
        raise RecordError(f"Cannot write to {path}: {there} is not a folder.", hint="Give the name of a folder.")
    if not os.access(there, os.W_OK):
        raise RecordError(f"Cannot write to {path}: permission denied for {there}.")


def make_folder(path: Path) -> None:
    """Make a folder, and those that it is in, unless it is there.

    Raises:
        RecordError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"Cannot write to {path}: {error.strerror or error}.") from error


def is_stream(path: Path) -> bool:
    """Whether this is a device or a pipe, which must not be replaced by a file."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def real_path(path: Path) -> Path:
    """The file that a symlink points to. (Path.resolve raises RuntimeError for circular links.)"""
    return Path(os.path.realpath(path))
