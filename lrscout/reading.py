"""A JSON document -> a RunRecord, every value checked against the types of the dataclasses."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import lrscout
from lrscout.errors import perhaps
from lrscout.results import RESULTS, RunRecord

Reader = Callable[[Any], Any]

LARGEST = 2**63  # of whole numbers: more than any count, and still a float
SIGNED = ("base_bytes", "bytes_per_sample", "growth_bytes", "exit_code")  # a fit may be below 0; the others count
FROM_ONE = ("batch_size",)
NUMBERS = ("seconds", "seconds_per_step", "samples_per_second", "margin", "factor")  # never nan, which is null in JSON


class MismatchError(ValueError):
    """A value is not what its field holds. Its place is put together from the inside out."""

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(problem)
        self._problem, self._place = problem, place

    def __str__(self) -> str:
        return f"{self._place.removeprefix('.') or 'the document'} {self._problem}"

    def within(self, place: str) -> MismatchError:
        """The same, of the value at a place that holds this one."""
        return MismatchError(self._problem, place + self._place)


@dataclasses.dataclass(frozen=True, slots=True)
class _Group:
    """A parameter group, which records hold as a mapping."""

    name: str | None
    parameters: int
    lr: float


def read_record(document: Any) -> RunRecord[Any]:
    """The record in a document.

    Fields without a default must be there. Fields unknown to this version are errors, unless another version of
    lrscout wrote the record: newer ones have more.

    Raises:
        MismatchError: a field is missing or unknown, or its value is of another type or out of bounds.
    """
    document = _checked(dict, document)
    command, environment = document.get("command"), document.get("environment")
    if not isinstance(command, str) or command not in RESULTS:
        raise MismatchError(_one_of(tuple(RESULTS), command), ".command")
    version = environment.get("lrscout") if isinstance(environment, dict) else None
    strict = version in (None, lrscout.__version__)
    own: dict[str, Reader] = {
        "result": _reader(RESULTS[command] | None, strict),
        "environment": partial(_read_known, {"groups": _read_groups}),
        "target": partial(_read_known, {"command": _read_words}),
    }
    record: RunRecord[Any] = _read_fields(RunRecord, strict, document, own)
    return record


@cache
def _reader(hint: Any, strict: bool) -> Reader:
    """How a value of this type is read; raises MismatchError."""
    origin, kinds = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return partial(_read_fields, hint, strict)
    if origin in (UnionType, Union):  # X | None is the one or the other, as X is
        return partial(_read_optional, _reader(next(kind for kind in kinds if kind is not NoneType), strict))
    if origin is tuple:
        return partial(_read_list, _reader(kinds[0], strict))
    if origin is Sequence:  # of parameter groups
        return _read_groups
    if origin is Mapping:
        return partial(_read_mapping, _reader(kinds[0], strict), _reader(kinds[1], strict))
    if origin is Literal:
        return partial(_read_literal, kinds)
    if hint in (str, bool):
        return partial(_checked, hint)
    return _read_int if hint is int else _read_float if hint is float else _read_anything


@cache
def _fields(kind: Any, strict: bool) -> dict[str, tuple[Reader, bool]]:
    """How each field is read, and whether it must be there; get_type_hints is slow."""
    hints = get_type_hints(kind)
    return {
        f.name: (
            _bounded(f.name, _reader(hints[f.name], strict)),
            f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING,
        )
        for f in dataclasses.fields(kind)
    }


def _bounded(name: str, read: Reader) -> Reader:
    """The reader of a field with the bounds that its name stands for."""
    kind = read.args[0] if isinstance(read, partial) and read.func is _read_optional else read
    if kind is _read_int:
        least = 1 if name in FROM_ONE else -LARGEST if name in SIGNED else 0
        return partial(_read_at_least, least, read)
    if kind is _read_float and name in NUMBERS:
        return partial(_read_number, read)
    return read


def _read_fields(kind: Any, strict: bool, value: Any, own: Mapping[str, Reader] = {}) -> Any:
    fields, given = _fields(kind, strict), {}
    for name, item in _checked(dict, value).items():
        if name in fields:
            try:
                given[name] = own.get(name, fields[name][0])(item)
            except MismatchError as error:
                raise error.within(f".{name}") from None
        elif strict:
            meant = perhaps(name, tuple(fields))
            raise MismatchError(f"is unknown{f' ({meant})' if meant else ''}", f".{_shown(name)}")
    for name, (_, needed) in fields.items():
        if needed and name not in given:
            raise MismatchError("is missing", f".{name}")
    return kind(**given)


def _read_optional(read: Reader, value: Any) -> Any:
    return None if value is None else read(value)


def _read_list(read: Reader, value: Any) -> tuple[Any, ...]:
    found = []
    for index, item in enumerate(_checked(list, value)):
        try:
            found.append(read(item))
        except MismatchError as error:
            raise error.within(f"[{index}]") from None
    return tuple(found)


def _read_mapping(read_key: Reader, read: Reader, value: Any) -> dict[Any, Any]:
    found = {}
    for key, item in _checked(dict, value).items():
        try:
            found[read_key(key)] = read(item)
        except MismatchError as error:
            raise error.within(f".{_shown(key)}") from None
    return found


def _read_known(readers: Mapping[str, Reader], value: Any) -> Any:
    """A mapping of anything, some of whose keys are read by lrscout itself."""
    found = dict(_checked(dict, value))
    for key, read in readers.items():
        if found.get(key) is not None:
            try:
                found[key] = read(found[key])
            except MismatchError as error:
                raise error.within(f".{key}") from None
    return found


def _read_groups(value: Any) -> Any:
    """Parameter groups as mappings, a rate that is not finite as nan."""
    read = _read_list(_reader(_Group, False), value)
    return [{**group, "lr": checked.lr} for group, checked in zip(value, read)]


def _read_words(value: Any) -> Any:
    return list(_read_list(partial(_checked, str), value))


def _read_literal(choices: tuple[Any, ...], value: Any) -> Any:
    if not isinstance(value, str) or value not in choices:
        raise MismatchError(_one_of(choices, value))
    return value


def _read_anything(value: Any) -> Any:
    return value


def _read_int(value: Any) -> int:
    if type(value) is not int:
        raise MismatchError(f"must be a whole number, not {_told(value)}")
    if abs(value) > LARGEST:
        raise MismatchError(f"must be at most {LARGEST}, not a number of {len(str(abs(value)))} digits")
    return value


def _read_float(value: Any) -> float:
    """A number; null is nan, as nan and inf are written."""
    if value is None:
        return math.nan
    if type(value) is int and abs(value) <= LARGEST:
        return float(value)
    if type(value) is not float:
        raise MismatchError(f"must be a number, not {_told(value)}")
    if not math.isfinite(value):
        raise MismatchError(f"must be finite, not {value}")
    return value


def _read_number(read: Reader, value: Any) -> Any:
    found = read(value)
    if found is not None and math.isnan(found):
        raise MismatchError("must be a number, not null")
    return found


def _read_at_least(least: int, read: Reader, value: Any) -> Any:
    found = read(value)
    if found is not None and not found >= least:
        raise MismatchError(f"must be at least {least}, not {_told(value)}")
    return found


def _checked(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise MismatchError(f"must be {KINDS[kind]}, not {_told(value)}")
    return value


KINDS = {dict: "a mapping", list: "a list", str: "text", bool: "true or false"}


def _one_of(choices: Sequence[str], value: Any) -> str:
    return f"must be one of {', '.join(choices)}, not {_told(value)}"


def _told(value: Any) -> str:
    """A value that was found, in a few words."""
    if value is None:
        return "null"
    if isinstance(value, (dict, list)):
        return KINDS[type(value)]
    return _shown(str(value).lower() if isinstance(value, bool) else repr(value))


def _shown(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
