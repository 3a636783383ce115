"""What a schedule's parameters may be, read from its function's signature, and how a value for one is checked."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from lrscout.errors import UsageError, perhaps


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that a parameter may be."""

    low: float
    high: float = math.inf
    open: bool = False  # low itself is left out

    def __contains__(self, value: float) -> bool:
        return (self.low < value if self.open else self.low <= value) and value <= self.high and math.isfinite(value)

    def __str__(self) -> str:
        start = f"{'above' if self.open else 'from'} {self.low:g}"
        return start if self.high == math.inf else f"{start} {'up ' if self.open else ''}to {self.high:g}"


@dataclass(frozen=True, slots=True)
class Steps:
    """Marks a length of time: optimizer steps, or a fraction of the run."""

    def __str__(self) -> str:
        return "whole steps or a fraction below 1"


Ratio = Annotated[float, Range(0, 1)]
Factor = Annotated[float, Range(0, 1, open=True)]
Positive = Annotated[float, Range(0, open=True)]
Divisor = Annotated[float, Range(1, 1e9)]
Count = Annotated[int, Range(0)]
Cycles = Annotated[int, Range(1, 100)]
Growth = Annotated[float, Range(1, 10)]
Length = Annotated[float, Steps()]


def steps_of(length: float, total: int) -> int:
    """A length in steps: it is one already from 1 on, and a fraction of the run below."""
    return int((length if length >= 1 else length * total) + 0.5)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a schedule, as its function declares it."""

    name: str
    hint: Any  # its annotation: what a value may be
    default: Any

    @property
    def type(self) -> str:
        """What a value may be, in words."""
        return _in_words(self.hint)

    def check(self, value: Any) -> Any:
        """The value in the parameter's type.

        Raises:
            UsageError: it is of another type, or out of range.
        """
        try:
            return _converted(self.hint, value)
        except (ValueError, OverflowError):  # no float holds a whole number of 400 digits
            known = get_args(self.hint) if get_origin(self.hint) is Literal else ()
            message = f"{self.name} must be {self.type}, not {value!r}."
            raise UsageError(message, hint=perhaps(str(value), known)) from None


@cache
def parameters_of(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    """The keyword-only parameters of a function, in its order."""
    hints = get_type_hints(function, include_extras=True)
    return {
        name: Parameter(name, hints[name], given.default)
        for name, given in inspect.signature(function).parameters.items()
        if given.kind is given.KEYWORD_ONLY
    }


def _in_words(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list, each {_in_words(get_args(hint)[0])}"
    if get_origin(hint) is Literal:
        return " or ".join(get_args(hint))
    if hint is bool:
        return "true or false"
    kind, limits = get_args(hint)
    if isinstance(limits, Steps):
        return str(limits)
    return f"a{' whole' if kind is int else ''} number {limits}"


def _converted(hint: Any, value: Any) -> Any:
    if get_origin(hint) is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_converted(get_args(hint)[0], item) for item in items)
    if get_origin(hint) is Literal or hint is bool:
        allowed = (True, False) if hint is bool else get_args(hint)
        if type(value) is not type(allowed[0]) or value not in allowed:
            raise ValueError
        return value
    kind, limits = get_args(hint)
    return _number(kind, limits, value)


def _number(kind: type, limits: Range | Steps, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError
    whole = value == int(value)
    if isinstance(limits, Steps):
        if value < 0 or (value >= 1 and not whole):
            raise ValueError
        return int(value) if whole else float(value)
    if value not in limits or (kind is int and not whole):
        raise ValueError
    return int(value) if kind is int else float(value)
