"""The parameters of schedules: read from the signatures of their functions, and used to check values."""

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
    """The range of a numeric parameter."""

    low: float
    high: float = math.inf
    open: bool = False  # whether to exclude low itself

    def __contains__(self, value: float) -> bool:
        return (self.low < value if self.open else self.low <= value) and value <= self.high and math.isfinite(value)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'above' if self.open else 'of at least'} {self.low:g}"
        return f"above {self.low:g} and up to {self.high:g}" if self.open else f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class Steps:
    """Marks a length of time: a number of optimizer steps, or a fraction of the run."""

    def __str__(self) -> str:
        return "a whole number of steps or a fraction below 1"


Ratio = Annotated[float, Range(0, 1)]
Factor = Annotated[float, Range(0, 1, open=True)]
Positive = Annotated[float, Range(0, open=True)]
Divisor = Annotated[float, Range(1, 1e9)]
Count = Annotated[int, Range(0)]
Cycles = Annotated[int, Range(1, 100)]
Growth = Annotated[float, Range(1, 10)]
Length = Annotated[float, Steps()]


def steps_of(length: float, total: int) -> int:
    """Convert a length to steps: below 1, it is a fraction of the run."""
    return int((length if length >= 1 else length * total) + 0.5)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a schedule, as declared by its function."""

    name: str
    hint: Any  # its annotation
    default: Any

    @property
    def type(self) -> str:
        """The valid values, in words."""
        return _in_words(self.hint)

    def check(self, value: Any) -> Any:
        """Convert a value to the type of the parameter.

        Raises:
            UsageError: the value has the wrong type, or is out of range.
        """
        try:
            return _converted(self.hint, value)
        except (ValueError, OverflowError):  # an integer of 400 digits overflows a float
            known = get_args(self.hint) if get_origin(self.hint) is Literal else ()
            message = f"{self.name} must be {self.type}, not {value!r}."
            raise UsageError(message, hint=perhaps(str(value), known)) from None


@cache
def parameters_of(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    """The keyword-only parameters of a function, in order."""
    hints = get_type_hints(function, include_extras=True)
    return {
        name: Parameter(name, hints[name], given.default)
        for name, given in inspect.signature(function).parameters.items()
        if given.kind is given.KEYWORD_ONLY
    }


def _in_words(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list, each item {_in_words(get_args(hint)[0])}"
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
