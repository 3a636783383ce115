"""Run records: JSON documents, written atomically, found again, and read back.

`schema` 1. Numbers that are not finite are null, never NaN.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from lrscout.errors import RecordError
from lrscout.results import RESULTS, SCHEMA, RunRecord

KEPT_RECORDS = 200  # in the cache folder; older ones are removed
LAST = "last"  # a file in the cache folder that names the last record, wherever it was written


def to_json(record: RunRecord[Any]) -> str:
    """The record as one JSON document."""
    document = {"schema": record.schema, **_plain(record)}
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # a file name need not be valid Unicode


def from_json(text: str, name: str = "the record") -> RunRecord[Any]:
    """Read a record's JSON.

    Raises:
        RecordError: no JSON, no record of ours, or of a newer schema.
    """
    try:
        document = json.loads(text)
        schema = document["schema"]
        if schema == SCHEMA:
            result = document["result"]
            kind = None if result is None else RESULTS[document["command"]]
            record: RunRecord[Any] = _read(RunRecord, {**document, "result": _read(kind, result)})
            return record
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordError(f"{name} is no record of lrscout: {type(error).__name__}: {error}.") from None
    raise RecordError(
        f"{name} has schema {schema!r}, and this lrscout reads schema {SCHEMA}.",
        hint="Read it with the lrscout that wrote it, or a newer one.",
    )


def save(record: RunRecord[Any], path: Path) -> None:
    """Write the record so that readers see the old or the new document, never half of one.

    Raises:
        RecordError: the place cannot be written to.
    """
    write_text(path, to_json(record) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file atomically; a device or a pipe is written to as it is.

    Raises:
        RecordError: the place cannot be written to.
    """
    try:
        if _is_stream(path):
            path.write_text(text, encoding="utf-8", errors="surrogateescape")
            return
        place = _real(path)
        temporary = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(f"Cannot write {path}: {error.strerror or error}.") from error


def append_text(path: Path, text: str) -> None:
    """Add to a file that others write to as well.

    Raises:
        RecordError: it cannot be written to.
    """
    try:
        with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    except OSError as error:
        raise RecordError(f"Cannot write {path}: {error.strerror or error}.") from error


def check_writable(path: Path) -> None:
    """Find out before a long run whether its output file can be written after it.

    Raises:
        RecordError: it cannot.
    """
    place = _real(path)
    if path.is_dir():
        raise RecordError(f"Cannot write {path}: it is a folder.", hint="Name a file in it.")
    if not place.parent.is_dir():
        raise RecordError(f"Cannot write {path}: there is no folder {place.parent}.", hint="Create it first.")
    needed = [path] if path.exists() else []
    if not _is_stream(path):
        needed.append(place.parent)  # the file is replaced by a new one
    for needs in needed:
        if not os.access(needs, os.W_OK):
            raise RecordError(f"Cannot write {path}: permission denied for {needs}.")


def _is_stream(path: Path) -> bool:
    """Whether this is a device or a pipe, which cannot be replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _real(path: Path) -> Path:
    """The file behind the links, which stay links. (Path.resolve raises RuntimeError for links in a circle.)"""
    return Path(os.path.realpath(path))


def load(path: Path) -> RunRecord[Any]:
    """Read a record file.

    Raises:
        RecordError: it cannot be read, or is no record.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise RecordError(f"Cannot read {path}: {reason}.", hint="`lrscout show` draws the last record.") from error
    return from_json(text, str(path))


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where records go when no file is named (XDG base directories).

    Raises:
        RecordError: this user has no home.
    """
    base = environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "lrscout"
    except RuntimeError as error:
        raise RecordError(f"There is no cache folder: {error}", hint="Set XDG_CACHE_HOME.") from error


def new_record_path(command: str, target: str | None) -> Path:
    """A name of its own in the cache folder, which is made, and cleared of the oldest records.

    Raises:
        RecordError: the folder cannot be made.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.glob("*.json"))[: 1 - KEPT_RECORDS]:  # names begin with the time
            old.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(f"Cannot write records to {folder}: {error.strerror or error}.") from error
    slug = re.sub(r"[^A-Za-z0-9]+", "-", target or "")[-40:].strip("-")
    name = "-".join(filter(None, [time.strftime("%Y%m%dT%H%M%S"), command, slug, str(os.getpid())]))
    return folder / f"{name}.json"


def remember(path: Path) -> None:
    """Make this the record that `last_record` finds.

    Raises:
        RecordError: the cache folder cannot be written to.
    """
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"Cannot write to {cache_folder()}: {error.strerror or error}.") from error
    write_text(cache_folder() / LAST, f"{path.resolve()}\n")


def last_record() -> Path:
    """The record that was written last.

    Raises:
        RecordError: there is none.
    """
    folder = cache_folder()
    try:
        named = Path((folder / LAST).read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n"))
        if named.is_file():
            return named
    except OSError:
        pass
    records = sorted(folder.glob("*.json"))
    if not records:
        raise RecordError(f"There is no record in {folder}.", hint="Run `lrscout find-lr` first, or name a file.")
    return records[-1]


def cached_records(command: str) -> list[Path]:
    """The records of a command in the cache folder, the newest first."""
    return sorted(cache_folder().glob(f"*-{command}-*.json"), reverse=True)


def _plain(value: Any) -> Any:
    """The value in JSON's terms; what JSON has no word for becomes text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)


def _read(hint: Any, value: Any) -> Any:
    """What `_plain` wrote, as the type that the hint asks for; a number that was not finite comes back as nan.

    Keys that a newer lrscout added are left out.
    """
    if hint is float:
        return math.nan if value is None else value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        return hint(
            **{f.name: _read(hints[f.name], value[f.name]) for f in dataclasses.fields(hint) if f.name in value}
        )
    kinds = get_args(hint)
    if get_origin(hint) is UnionType:
        return None if value is None else _read(next(kind for kind in kinds if kind is not NoneType), value)
    if get_origin(hint) is tuple:
        return tuple(_read(kinds[0], item) for item in value)
    if get_origin(hint) is Mapping:
        return {key: _read(kinds[1], item) for key, item in value.items()}
    return value
