"""Run records as JSON documents: written and read back.

Numbers that are not finite are written as null.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lrscout.errors import RecordError
from lrscout.files import write_text
from lrscout.reading import MismatchError, read_record
from lrscout.results import SCHEMA, RunRecord

DAMAGED = "It was changed since lrscout wrote it, or another program wrote it: make it again."
BEGINNING = 1024  # bytes of a file, which tell whether it may be a record


def to_json(record: RunRecord[Any]) -> str:
    """The record as a JSON document."""
    return escaped_json({"schema": record.schema, **_fields(record)})


def escaped_json(document: Any) -> str:
    """JSON in which nothing can change a terminal or a log."""
    return _UNUSUAL.sub(_json_escaped, json.dumps(_plain(document), indent=2, allow_nan=False, ensure_ascii=False))


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
    hint = "`lrscout runs` lists the records that are kept."
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


def _plain(value: Any) -> Any:
    """The value as JSON types; anything that JSON cannot represent becomes text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(item) for name, item in _fields(value).items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
