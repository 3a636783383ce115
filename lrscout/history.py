"""The cache folder: where records go that no other place was named for, and which of them is meant."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lrscout.errors import RecordError
from lrscout.files import write_text
from lrscout.results import RESULTS

KEPT_RECORDS = 200  # in the cache folder; older ones are deleted
LAST = "last"  # file in the cache folder with the path of the last record, which may be anywhere
LAST_OF_FOLDER = "last-"  # begins the names of the files with the path of the last record of a folder
SHORT = 4  # characters of an id that are enough where they are unique


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The default folder for records, as specified by XDG.

    Raises:
        RecordError: the user has no home directory.
    """
    base = environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "lrscout"
    except RuntimeError as error:
        raise RecordError(f"Cannot determine the cache folder: {error}", hint="Set XDG_CACHE_HOME.") from error


def new_record_path(command: str, target: str | None) -> Path:
    """An unused path in the cache folder; creates the folder and deletes the oldest records.

    Raises:
        RecordError: the folder cannot be created.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in cached_records()[KEPT_RECORDS - 1 :]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(f"Cannot write records to {folder}: {error.strerror or error}.") from error
    slug = re.sub(r"[^A-Za-z0-9]+", "-", target or "")[-40:].strip("-")
    # not the pid: two containers that share the folder may both have the same
    name = "-".join(filter(None, [time.strftime("%Y%m%dT%H%M%S"), command, slug, secrets.token_hex(4)]))
    return folder / f"{name}.json"


_NAME = re.compile(rf"(\d{{8}}T\d{{6}})-({'|'.join(RESULTS)})(-[A-Za-z0-9-]+)?-([0-9a-f]+)\.json")


def cached_records(command: str | None = None) -> list[Path]:
    """The records in the cache folder that bear names of ours, newest first: all, or those of a command."""
    named = ((path, _NAME.fullmatch(path.name)) for path in cache_folder().glob("*.json"))
    return sorted((path for path, name in named if name and command in (None, name[2])), reverse=True)


@dataclass(frozen=True, slots=True)
class RecordName:
    """What the name of a cached record says of it."""

    when: str  # local time: 2026-03-01 14:05:33
    command: str
    id: str  # which tells it from the others


def name_of(path: Path) -> RecordName:
    """What is in the name of one of `cached_records`."""
    found = _NAME.fullmatch(path.name)
    assert found is not None
    day, clock = found[1].split("T")
    when = f"{day[:4]}-{day[4:6]}-{day[6:]} {clock[:2]}:{clock[2:4]}:{clock[4:]}"
    return RecordName(when, found[2], found[4])


def short_name(path: Path) -> str:
    """What to call a record: its id, or the name of its file where it is not in the cache folder."""
    is_cached = _NAME.fullmatch(path.name) is not None and path.parent == cache_folder()
    return name_of(path).id if is_cached else path.name


def find_record(name: str) -> Path:
    """The record that a user means by a path, or by the beginning of an id that `lrscout runs` lists.

    Raises:
        RecordError: several ids begin like this.
    """
    if os.path.lexists(name) or not re.fullmatch(rf"[0-9a-f]{{{SHORT},}}", name):
        return Path(name)
    found = [path for path in cached_records() if name_of(path).id.startswith(name)]
    if len(found) > 1:
        listed = ", ".join(name_of(path).id for path in found[:5])
        raise RecordError(f"{len(found)} records have ids that begin with {name}.", hint=f"Give more of it: {listed}.")
    return found[0] if found else Path(name)


def _pointer(folder: Path) -> Path:
    """The file that has the path of the last record of a folder."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]
    return cache_folder() / f"{LAST_OF_FOLDER}{digest}"


def remember(path: Path, folder: Path | None = None) -> None:
    """Make this the record that `last_record` returns, for a folder (by default the current one) and for others.

    Raises:
        RecordError: the cache folder is not writable.
    """
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"Cannot write to {cache}: {error.strerror or error}.") from error
    for pointer in (cache / LAST, _pointer(folder or Path())):
        write_text(pointer, f"{path.resolve()}\n")
    with suppress(OSError):  # another process may be doing the same
        pointers = sorted(cache.glob(f"{LAST_OF_FOLDER}*"), key=lambda each: each.stat().st_mtime)
        for old in pointers[:-KEPT_RECORDS]:
            old.unlink(missing_ok=True)


def last_record() -> tuple[Path, bool]:
    """The path of the last record written, and whether it is one of the current folder.

    Where there is none of this folder, it is the last of any.

    Raises:
        RecordError: there is none.
    """
    cache = cache_folder()
    for pointer, is_own in ((_pointer(Path()), True), (cache / LAST, False)):
        with suppress(OSError, ValueError):  # ValueError: the path has a NUL
            named = Path(pointer.read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n"))
            if os.path.isfile(named):
                return named, is_own
    records = cached_records()
    if not records:
        raise RecordError(f"No records in {cache}.", hint="Run `lrscout find-lr` first, or pass the path of a record.")
    return records[0], False
