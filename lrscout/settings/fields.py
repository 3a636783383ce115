"""What a setting is: its type, bounds and help, and how a value given for it is checked."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lrscout.errors import UsageError, did_you_mean, perhaps

Kind = Literal["target", "command", "ranks"]
"""What a setting may be for: a target that lrscout trains itself, a training command, or a target as one."""


@dataclass(frozen=True, slots=True)
class Option:
    """What a setting's name, type and default cannot say."""

    help: str
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: int | None = None  # of a whole number; by default LARGEST
    choices: tuple[str, ...] = ()  # of a registry's keys; those of a Literal are read from the type
    metavar: str | None = None
    flags: tuple[str, ...] = ()  # on the command line, if they differ from the name
    item: Callable[[Any], Any] | None = None  # of a list: raises UsageError for an invalid item
    number_too: bool = False  # a number is accepted as text
    amount: str | None = None  # of what a text is, to tell whoever gives a number
    only: Kind | None = None  # what it is for; None: both
    ranks_too: bool = False  # whether what is for one of them is for a target on several ranks as well
    instead: str | None = None  # the hint where it is given for the other kind
    group: str | None = None  # in --help; by default that of the class that declares it


def option(default: Any, help: str, **bounds: Any) -> Any:
    """Declare a setting; the keyword arguments are those of Option."""
    metadata = {"option": Option(help, **bounds)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Field:
    """A setting as the command line and the recipe loader see it."""

    name: str
    type: type  # int, float, bool, str, dict for key=value pairs, or tuple for a list
    optional: bool  # None is a value
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        return self.option.flags[0] if self.option.flags else f"--{self.name.replace('_', '-')}"


class Settings:
    """Settings declared by `option`; their values are checked when they are made."""

    GROUP: ClassVar[str] = "Options"  # where --help shows what a class declares

    def __post_init__(self) -> None:
        for known in fields_of(type(self)):
            _check(known, getattr(self, known.name))

    def check_for(self, kind: Kind) -> None:
        """See that the values have a meaning for this kind of target.

        Raises:
            UsageError: one has none.
        """


AnySettings = TypeVar("AnySettings", bound=Settings)


def fields_of(settings: type[Settings]) -> tuple[Field, ...]:
    """The settings of a command: its own first, then those it inherits, the most general last."""
    hints = get_type_hints(settings)
    origin = {
        name: place for place, base in enumerate(settings.__mro__) for name in vars(base).get("__annotations__", ())
    }
    ordered = sorted(dataclasses.fields(settings), key=lambda f: origin[f.name])  # type: ignore[arg-type]
    groups = [vars(base).get("GROUP") for base in settings.__mro__]
    return tuple(_field(f, hints[f.name], groups[origin[f.name]]) for f in ordered)


def _field(field: dataclasses.Field[Any], hint: Any, group: str | None) -> Field:
    kinds = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)  # Union: of a Literal
    kind = next(k for k in kinds if k is not NoneType)
    default = {} if field.default is dataclasses.MISSING else field.default
    declared: Option = field.metadata["option"]
    if get_origin(kind) is Literal:
        kind, declared = str, dataclasses.replace(declared, choices=get_args(kind))
    declared = dataclasses.replace(declared, group=declared.group or group)
    kind = {Mapping: dict, Sequence: tuple}.get(get_origin(kind), kind)
    return Field(field.name, kind, NoneType in kinds, default, declared)


def flag_words(field: Field, value: Any) -> list[str]:
    """A value as on the command line; that of a list is left to whoever knows its items."""
    if field.type is bool:
        return [field.flag if value else f"--no-{field.flag[2:]}"]
    if field.type is dict:
        return [word for key, item in value.items() for word in (field.flag, f"{key}={json.dumps(item)}")]
    return [field.flag, str(value)]


def positive_name(key: str, settings: type[Settings]) -> tuple[str, bool]:
    """A key as a setting's name, and whether it negates it: `no_early_stop` is `early_stop` set to false.

    A setting whose flag is called differently is known by that name too: `for` is `use`.
    """
    known = fields_of(settings)
    names = {f.flag.strip("-").replace("-", "_"): f.name for f in known}
    if key.startswith("no_") and any(f.type is bool and f.name == key[3:] for f in known):
        return key[3:], True
    return names.get(key, key), False


def make_settings(settings: type[AnySettings], given: Mapping[str, Any]) -> AnySettings:
    """Settings from keyword arguments, whose names are the flags' names in snake case.

    Raises:
        UsageError: an unknown name, a value of the wrong type or out of its bounds.
    """
    known = {f.name: f for f in fields_of(settings)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        name, negated = positive_name(key, settings)
        if name not in known:
            raise UsageError(f"Unknown setting {key!r}.", hint=did_you_mean(key, tuple(known)))
        if name in values:
            raise UsageError(f"{key!r} sets {name!r} twice.", hint="Keep one of them.")
        value = coerce(known[name], value)
        values[name] = not value if negated and value is not None else value
    return settings(**values)


def coerce(field: Field, value: Any) -> Any:
    """The value converted to the setting's type, if nothing is lost.

    Raises:
        UsageError: the value is of another type.
    """
    if value is None and field.optional:
        return None
    if field.type is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise UsageError(f"{field.name} is too large: {told(value)}, where 308 digits are the most.") from None
    if field.type is dict and isinstance(value, Mapping):
        return dict(value)
    if field.type is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        check = field.option.item
        return tuple(value) if check is None else tuple(item for item in value if check(item) is not None)
    if field.option.number_too and isinstance(value, (int, float)) and not isinstance(value, bool):
        if isinstance(value, int) and abs(value) > LARGEST:
            raise UsageError(f"{field.name} {told(value)} must be at most {LARGEST}.")
        return str(value)
    if isinstance(value, field.type) and not (field.type is int and isinstance(value, bool)):
        return value
    found = told(value) if isinstance(value, int) else repr(value)
    raise UsageError(f"{field.name} must be {field.option.amount or KIND_NAMES[field.type]}, not {found}.")


LARGEST_RATE = 1e36  # an optimizer's step overflows in single precision with a rate 340 times as high
LARGEST = 2**63 - 1  # whole number: what torch takes for a seed with room for further ones, and more than any count


def told(value: Any) -> str:
    """A value as a message shows it: a number of hundreds of digits by their count."""
    if isinstance(value, int) and abs(value) > 10**40:
        return f"(a number of about {int(value.bit_length() * math.log10(2))} digits)"
    return str(value)


KIND_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "a mapping",
    tuple: "a list",
}


def bounds_problem(field: Field, value: Any) -> str | None:
    """What is wrong with a value of the right type; None if nothing is."""
    limits = field.option
    if limits.choices and value is not None and value not in limits.choices:
        return f"must be one of {', '.join(limits.choices)}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int) and value > (limits.at_most or LARGEST):
        return f"must be at most {limits.at_most or LARGEST}"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be finite"
    if limits.at_least is not None and not value >= limits.at_least:
        return f"must be at least {limits.at_least:g}"
    if limits.above is not None and not value > limits.above:
        return f"must be above {limits.above:g}"
    if limits.below is not None and not value < limits.below:
        return f"must be below {limits.below:g}"
    return None


def _check(field: Field, value: Any) -> None:
    problem = bounds_problem(field, value)
    if problem is not None:
        raise UsageError(f"{field.flag} {told(value)} {problem}.", hint=perhaps(told(value), field.option.choices))


def check_kind(settings: Settings, kind: Kind) -> None:
    """See that no setting was given that has no meaning for this kind of target.

    Raises:
        UsageError: one was.
    """
    for field in fields_of(type(settings)):
        only, ranks_too = field.option.only, field.option.ranks_too
        is_for_it = only in (None, kind) or (kind == "ranks" and ranks_too)
        if is_for_it or getattr(settings, field.name) == field.default:
            continue
        if kind == "ranks" and only == "target":
            raise UsageError(
                f"{field.flag} cannot be used with several ranks, which train in processes of their own.",
                hint="Leave it out, or train the target in one process, without --nproc.",
            )
        if kind == "command":
            message = f"{field.flag} cannot be used with a command, which decides that itself."
            raise UsageError(message, hint=field.option.instead or "Put the option into the command, if it has one.")
        if ranks_too:
            raise UsageError(f"{field.flag} is for training commands and for several ranks.", hint=field.option.instead)
        raise UsageError(f"{field.flag} is for training commands alone.", hint="For example: -- python train.py")
    settings.check_for(kind)


def of_kind(settings: type[Settings], given: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """What has a meaning for this kind of target, of settings that are given for both."""
    foreign = {field.name for field in fields_of(settings) if field.option.only not in (None, kind)}
    return {key: value for key, value in given.items() if positive_name(key, settings)[0] not in foreign}
