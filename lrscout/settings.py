"""Every setting of every command, declared once.

A field is a command-line flag, an environment variable, a recipe key and a keyword argument in Python, all with
the same name, type, default and bounds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from lrscout.errors import UsageError, did_you_mean, perhaps
from lrscout.search.suggestion import DEFAULT_RULE, RULES

PRECISIONS = ("fp32", "bf16", "fp16")
SPACINGS = ("exponential", "linear")
DEFAULT_OPTIMIZER = "adamw"


@dataclass(frozen=True, slots=True)
class Option:
    """What a setting's name, type and default cannot say."""

    help: str
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    metavar: str | None = None


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
    type: type  # int, float, bool, str, or dict for key=value pairs
    optional: bool  # None is a value
    default: Any
    option: Option


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """How a training step is made: the same for every command."""

    seed: int = option(0, "Seeds Python, NumPy and torch, before build and before the first step.", at_least=0)
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps, xpu.")
    precision: str = option(
        "fp32", "Autocast to this precision; fp16 comes with a gradient scaler.", choices=PRECISIONS
    )
    optimizer: str | None = option(
        None,
        "A torch.optim class by its lower-case name (adamw, sgd, muon), where the target has no optimizer"
        f" of its own; {DEFAULT_OPTIMIZER} when not given.",
        metavar="NAME",
    )
    optimizer_arg: Mapping[str, Any] = option({}, "An argument of --optimizer; repeatable.")
    accumulate: int = option(1, "Micro-batches per optimizer step; their mean loss is recorded.", at_least=1)
    clip_norm: float | None = option(None, "Clip the gradient's norm to this (after unscaling).", above=0)
    clip_value: float | None = option(None, "Clip every gradient entry to this (after unscaling).", above=0)
    compile: bool = option(False, "Compile the model with torch.compile.")
    deterministic: bool = option(False, "Use deterministic algorithms only; slower.")
    cudnn_benchmark: bool | None = option(None, "Let cuDNN time its algorithms and keep the fastest.")

    def __post_init__(self) -> None:
        for known in fields_of(type(self)):
            _check(known, getattr(self, known.name))


@dataclass(frozen=True, kw_only=True)
class FindLrSettings(SessionSettings):
    """The settings of find-lr."""

    min_lr: float = option(1e-7, "The sweep's first learning rate.", above=0)
    max_lr: float = option(10.0, "The sweep's last learning rate.", above=0)
    steps: int = option(100, "Optimizer steps in the sweep.", at_least=3)
    spacing: str = option("exponential", "How the rate rises from step to step.", choices=SPACINGS)
    smoothing: float = option(0.9, "Weight of the past in the smoothed loss, 0 to below 1.", at_least=0, below=1)
    stop_factor: float = option(
        4.0,
        "Stop once the smoothed loss stands this many times its own fall (initial - best) above its best.",
        above=0,
    )
    early_stop: bool = option(True, "Stop where the loss diverges; without, only at a non-finite loss.")
    rule: str = option(DEFAULT_RULE, "The rule that gives the headline.", choices=tuple(RULES))
    val_batches: int = option(
        0, "Sweep the mean loss of this many fixed held-out batches instead of the training loss.", at_least=0
    )

    def __post_init__(self) -> None:
        SessionSettings.__post_init__(self)
        if self.min_lr >= self.max_lr:
            raise UsageError(
                f"--min-lr {self.min_lr:g} is not below --max-lr {self.max_lr:g}.",
                hint="A sweep rises from --min-lr to --max-lr.",
            )


AnySettings = TypeVar("AnySettings", bound=SessionSettings)


def fields_of(settings: type[SessionSettings]) -> tuple[Field, ...]:
    """The settings of a command, its own first and those common to all commands last."""
    hints = get_type_hints(settings)
    common = {f.name for f in dataclasses.fields(SessionSettings)}
    ordered = sorted(dataclasses.fields(settings), key=lambda f: settings is not SessionSettings and f.name in common)
    return tuple(_field(f, hints[f.name]) for f in ordered)


def _field(field: dataclasses.Field[Any], hint: Any) -> Field:
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    kind = next(k for k in kinds if k is not NoneType)
    default = {} if field.default is dataclasses.MISSING else field.default
    kind = dict if get_origin(kind) is not None else kind
    return Field(field.name, kind, NoneType in kinds, default, field.metadata["option"])


def positive_name(key: str, settings: type[SessionSettings]) -> tuple[str, bool]:
    """A key as a setting's name, and whether it negates it: `no_early_stop` is `early_stop` set to false."""
    booleans = {f.name for f in fields_of(settings) if f.type is bool}
    if key.startswith("no_") and key[3:] in booleans:
        return key[3:], True
    return key, False


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
            raise UsageError(f"There is no setting {key!r}.", hint=did_you_mean(key, tuple(known)))
        if name in values:
            raise UsageError(f"{key!r} sets {name!r} again.", hint="Keep one of them.")
        value = coerce(known[name], value)
        values[name] = not value if negated and value is not None else value
    return settings(**values)


def coerce(field: Field, value: Any) -> Any:
    """The value as the setting's type, where nothing is lost by it.

    Raises:
        UsageError: the value is of another type.
    """
    if value is None and field.optional:
        return None
    if field.type is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise UsageError(f"{field.name} is too large.") from None
    if field.type is dict and isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, field.type) and not (field.type is int and isinstance(value, bool)):
        return value
    raise UsageError(f"{field.name} must be {KIND_NAMES[field.type]}, not {value!r}.")


KIND_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "a mapping"}


def bounds_problem(field: Field, value: Any) -> str | None:
    """What is wrong with a value of the right type, or None."""
    limits = field.option
    if limits.choices and value is not None and value not in limits.choices:
        return f"is not one of {', '.join(limits.choices)}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not math.isfinite(value):
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
        flag = f"--{field.name.replace('_', '-')}"
        raise UsageError(f"{flag} {value} {problem}.", hint=perhaps(str(value), field.option.choices))


COMMANDS: dict[str, type[SessionSettings]] = {"find_lr": FindLrSettings}
"""A recipe's section names, and the settings each may hold."""
