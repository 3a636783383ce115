"""Run records as JSON documents: written, listed, and read back.

Numbers that are not finite are written as null.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lrscout.errors import RecordError
from lrscout.files import write_text
from lrscout.reading import MismatchError, read_record
from lrscout.results import RESULTS, SCHEMA, RunRecord

KEPT_RECORDS = 200  # in the cache folder; older ones are deleted
DAMAGED = "It was changed since lrscout wrote it, or another program wrote it: make it again."
BEGINNING = 1024  # bytes of a file, which tell whether it may be a record
LAST = "last"  # file in the cache folder with the path of the last record, which may be anywhere


def to_json(record: RunRecord[Any]) -> str:
    """The record as a JSON document."""
    document = {"schema": record.schema, **_plain(record)}
    return _UNUSUAL.sub(_json_escaped, json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False))


_UNUSUAL = re.compile(r"[^ -~\n]|##\[")  # GitHub runs what follows ##[ anywhere in a log


def _json_escaped(found: re.Match[str]) -> str:
    """Letters as they are, since people read them; control characters as JSON escapes them."""
    text = found[0]
    return "#\\u0023[" if text == "##[" else text if text.isprintable() else json.dumps(text)[1:-1]


def from_json(text: str, name: str = "the record") -> RunRecord[Any]:
    """The record in a JSON document; `name` is what error messages call it.

    Raises:
        RecordError: it is not a record, or one with another schema.
    """
    try:
        document = json.loads(text)
        schema = document["schema"]
        if schema == SCHEMA:
            return read_record(document)
    except MismatchError as error:
        raise RecordError(f"{name} is not an lrscout record: {error}.", hint=DAMAGED) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(f"{name} is not an lrscout record ({type(error).__name__}: {error}).") from None
    raise RecordError(
        f"{name} has schema {schema!r:.40}, but this version of lrscout reads schema {SCHEMA}.",
        hint="Use the version of lrscout that wrote it, or a newer one.",
    )


def save(record: RunRecord[Any], path: Path) -> None:
    """Write a record atomically.

    Raises:
        RecordError: the file cannot be written.
    """
    write_text(path, to_json(record) + "\n")


def load(path: Path) -> RunRecord[Any]:
    """Read a record from a file.

    Raises:
        RecordError: the file cannot be read or is not a record.
    """
    hint = "Without a file, `lrscout show` shows the last record."
    try:
        with path.open("rb") as file:
            begin = file.read(BEGINNING)
            if not begin.lstrip().startswith(b"{"):  # a checkpoint or a device: no reason to read all of it
                raise RecordError(f"{path} is not an lrscout record: it does not begin with {{.", hint=hint)
            text = (begin + file.read()).decode()
    except UnicodeDecodeError as error:
        raise RecordError(f"Cannot read {path}: it is not UTF-8 text.", hint=hint) from error
    except (OSError, ValueError) as error:  # ValueError: the path has a NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecordError(f"Cannot read {path}: {reason}.", hint=hint) from error
    return from_json(text, str(path))


@contextmanager
def consistent(name: str) -> Iterator[None]:
    """Around what uses the values of a record together, each of which has been checked alone.

    Raises:
        RecordError: they contradict each other.
    """
    try:
        yield
    except (
        ArithmeticError,
        AssertionError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
        StopIteration,
    ) as error:
        raise RecordError(
            f"{name} cannot be used: its values contradict each other ({type(error).__name__}: {error}).",
            hint="If nobody has changed it since lrscout wrote it, please report it as a bug, with the file.",
        ) from error


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
        for old in _records_in(folder)[KEPT_RECORDS - 1 :]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(f"Cannot write records to {folder}: {error.strerror or error}.") from error
    slug = re.sub(r"[^A-Za-z0-9]+", "-", target or "")[-40:].strip("-")
    # not the pid: two containers that share the folder may both have the same
    name = "-".join(filter(None, [time.strftime("%Y%m%dT%H%M%S"), command, slug, secrets.token_hex(4)]))
    return folder / f"{name}.json"


_NAME = re.compile(rf"\d{{8}}T\d{{6}}-({'|'.join(RESULTS)})(-[A-Za-z0-9-]+)?-[0-9a-f]+\.json")


def _records_in(folder: Path, command: str | None = None) -> list[Path]:
    """The records in a folder that bear names of ours, newest first: all, or those of a command."""
    named = ((path, _NAME.fullmatch(path.name)) for path in folder.glob("*.json"))
    return sorted((path for path, name in named if name and command in (None, name[1])), reverse=True)


def remember(path: Path) -> None:
    """Make this the record that `last_record` returns.

    Raises:
        RecordError: the cache folder is not writable.
    """
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"Cannot write to {cache_folder()}: {error.strerror or error}.") from error
    write_text(cache_folder() / LAST, f"{path.resolve()}\n")


def last_record() -> Path:
    """The path of the last record written.

    Raises:
        RecordError: there is none.
    """
    folder = cache_folder()
    try:
        named = Path((folder / LAST).read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n"))
        if os.path.isfile(named):
            return named
    except OSError:
        pass
    records = _records_in(folder)
    if not records:
        raise RecordError(f"No records in {folder}.", hint="Run `lrscout find-lr` first, or pass the path of a record.")
    return records[0]


def cached_records(command: str) -> list[Path]:
    """The records of a command in the cache folder, newest first."""
    return _records_in(cache_folder(), command)


def _plain(value: Any) -> Any:
    """The value as JSON types; anything that JSON cannot represent becomes text."""
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
