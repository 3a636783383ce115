"""Parsing schedules: `NAME[:key=value,...][+swa]` or a mapping from a recipe -> a validated ScheduleSpec."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from lrscout.errors import UsageError, did_you_mean, perhaps
from lrscout.schedules.averaging import SUFFIX, Averaging, split_averaging
from lrscout.schedules.curves import MOMENTA, SCHEDULES, Curve
from lrscout.schedules.parameters import Length, Parameter, parameters_of, steps_of
from lrscout.schedules.text import no_pair, read, written

TORCH = "torch:"  # the prefix of schedulers from torch.optim.lr_scheduler
RUN_VALUES = ("$total", "$peak", "$warmup")  # placeholders in arguments of torch's schedulers and user code
DEFAULT_SCHEDULES = ("constant", "linear:warmup=0.05", "cosine:warmup=0.05", "wsd:warmup=0.05")


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """A schedule with its parameters. Only built-in schedules can be called; the engine makes all others."""

    name: str  # a key of SCHEDULES, torch:CLASS, or the path of user code
    params: Mapping[str, Any]  # including defaults if built-in, otherwise just those that were given
    label: str  # as the user wrote it
    averaging: Averaging | None = None  # of the weights

    @property
    def kind(self) -> str:
        """The name, and whether weights are averaged."""
        return self.name if self.averaging is None else f"{self.name}{SUFFIX}"

    @property
    def rates(self) -> str:
        """The label of the schedule alone, without the averaging."""
        return split_averaging(self.label)[0].rstrip()

    @property
    def is_builtin(self) -> bool:
        return self.name in SCHEDULES

    @property
    def needs_metric(self) -> bool:
        """Whether this is a built-in schedule that depends on the metrics of evaluations."""
        return self.is_builtin and "metrics" in SCHEDULES[self.name].__annotations__

    @property
    def warmup(self) -> float:
        """The linear warmup in steps, or as a fraction of the run."""
        return self.params.get("warmup", 0)  # type: ignore[no-any-return]

    @property
    def has_own_warmup(self) -> bool:
        """Whether the schedule implements its own warmup, by a parameter of its function or an argument of $warmup."""
        if self.is_builtin:
            return "warmup" in parameters_of(SCHEDULES[self.name])
        return "$warmup" in _leaves(list(self.params.values()))

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments for a scheduler of torch or user code, with the placeholders replaced by their values."""
        return {key: _filled(value, values) for key, value in self.params.items() if key != "warmup"}

    def __call__(self, step: int, total: int, metrics: Sequence[float] = ()) -> float:
        """The multiplier of the peak rate, 0 to 1; constant after the last step.

        `metrics` are the evaluations so far, where smaller is better; only `plateau` uses them.
        """
        function, step = SCHEDULES[self.name], min(step, total - 1)
        seen = (metrics,) if self.needs_metric else ()

        def curve(step: int, total: int) -> float:
            return _call(function, self.params, step, total, *seen)  # type: ignore[no-any-return]

        if self.has_own_warmup:
            return curve(step, total)
        return warmed_up(curve, step, total, warmup=self.warmup)

    def momentum(self, step: int, total: int) -> float | None:
        """The momentum, or first beta, that goes with the rate; None if it does not change."""
        if self.name not in MOMENTA:
            return None
        rise = steps_of(self.warmup, total)
        step, total = max(min(step, total - 1) - rise, 0), max(total - rise, 1)
        return _call(MOMENTA[self.name], self.params, step, total)  # type: ignore[no-any-return]


def warmed_up(curve: Curve, step: int, total: int, *, warmup: Length = 0) -> float:
    """Rise linearly to the start of the curve, then follow it over the remaining steps."""
    rise = steps_of(warmup, total)
    if step < rise:
        return (step + 1) / (rise + 1) * curve(0, max(total - rise, 1))
    return curve(step - rise, total - rise)


def _call(function: Callable[..., Any], params: Mapping[str, Any], *arguments: Any) -> Any:
    return function(*arguments, **{name: params[name] for name in parameters_of(function)})


@cache
def schedule_parameters(name: str) -> Mapping[str, Parameter]:
    """Every parameter of a built-in schedule: those of its function and its momentum, and the shared warmup."""
    known = dict(parameters_of(SCHEDULES[name]))
    for function in (MOMENTA.get(name), warmed_up):
        for key, parameter in parameters_of(function).items() if function is not None else ():
            known.setdefault(key, parameter)
    return known


def describe_schedule(name: str) -> str:
    """A one-line description of a built-in schedule: the first line of its function's docstring."""
    return (SCHEDULES[name].__doc__ or "").strip().split("\n")[0]


def parse_schedules(given: Iterable[str | Mapping[str, Any]]) -> tuple[ScheduleSpec, ...]:
    """Parse several schedules, which must be distinct.

    Raises:
        UsageError: a schedule is invalid, or given twice.
    """
    specs = tuple(map(parse_schedule, given))
    for i, spec in enumerate(specs):
        if spec.label in (other.label for other in specs[:i]):
            raise UsageError(f"The schedule {spec.label!r} is given twice.", hint="Keep one of them.")
    return specs


def schedule_among(given: str, specs: Sequence[ScheduleSpec]) -> ScheduleSpec:
    """Find a schedule by its label, or by its name with or without `+swa` if that is unique.

    Raises:
        UsageError: no schedule matches, or several do.
    """
    found = [spec for spec in specs if spec.label == given] or [spec for spec in specs if spec.kind == given]
    found = found or [spec for spec in specs if spec.name == given]
    labels = tuple(spec.label for spec in specs)
    if not found:
        raise UsageError(f"{given!r} is not one of the schedules.", hint=did_you_mean(given, labels))
    if len(found) > 1:
        matches = " or ".join(spec.label for spec in found)
        raise UsageError(f"{given!r} is ambiguous: it could be {matches}.", hint="Give the full label.")
    return found[0]


def parse_schedule(given: str | Mapping[str, Any]) -> ScheduleSpec:
    """Parse a schedule from `NAME[:key=value,...][+swa[:start=...]]`, or from a mapping with a `name` and parameters.

    Raises:
        UsageError: the name or a parameter is unknown, or a value is invalid.
    """
    if isinstance(given, str):
        label = given.strip()
        text, averaging = split_averaging(label)
        name, params = read(text)
    elif isinstance(given, Mapping) and isinstance(given.get("name"), str):
        name, averaging = split_averaging(given["name"])
        params = {str(key): value for key, value in given.items() if key != "name"}
        label = ":".join(filter(None, [name, ",".join(f"{key}={written(value)}" for key, value in params.items())]))
        label += given["name"].removeprefix(name)
    else:
        hint = "Write cosine, cosine:min_ratio=0.1 or {name: cosine, min_ratio: 0.1}."
        raise UsageError(f"{given!r} is not a valid schedule.", hint=hint)
    name, params = _known_name(name), {key.replace("-", "_"): value for key, value in params.items()}
    if name not in SCHEDULES:
        return ScheduleSpec(name, _check_arguments(name, params), label, averaging)
    known = schedule_parameters(name)
    for key in params:
        if key not in known:
            raise UsageError(f"{name} has no parameter {key!r}.", hint=did_you_mean(key, tuple(known)))
    checked = {key: _checked(name, p, params.get(key, p.default)) for key, p in known.items()}
    return ScheduleSpec(name, checked, label, averaging)


def _builtin(name: str) -> str | None:
    """The key of a built-in schedule, which may also be written like onecycle or one_cycle."""
    plain = re.sub("[-_ ]", "", name).lower()
    return next((key for key in SCHEDULES if key.replace("-", "") == plain), None)


def _known_name(name: str) -> str:
    place, colon, attribute = name.partition(":")
    if not colon:
        known = _builtin(name)
        if known is None and "," in name:
            several = " ".join(f"-s {part.strip()}" for part in name.split(","))
            raise UsageError(f"{name!r} is not one schedule.", hint=f"Give each an option of its own: {several}")
        if known is None and "+" in name:
            added = name[name.index("+") :]
            is_twice = "a second" if added == SUFFIX else "no"
            raise UsageError(f"{name!r}: there is {is_twice} {added!r}.", hint=f"For example: cosine{SUFFIX}.")
        if known is None:
            listed = f"Available: {', '.join(SCHEDULES)}; torch:CLASS for one from torch, pkg.mod:attr for your own."
            raise UsageError(f"There is no schedule {name!r}.", hint=perhaps(name, tuple(SCHEDULES)) or listed)
        return known
    if _builtin(place) is not None:
        raise no_pair(attribute, name)
    if not place or not attribute:
        raise UsageError(f"{name!r} is not a valid schedule.", hint="Use a built-in, torch:CLASS or pkg.mod:attr.")
    return name


def _checked(name: str, parameter: Parameter, value: Any) -> Any:
    try:
        return parameter.check(value)
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}", hint=error.hint) from None


def _check_arguments(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Check the arguments for a scheduler of torch or user code, as far as possible: the warmup and placeholders."""
    checked = dict(params)
    if "warmup" in params:
        checked["warmup"] = _checked(name, parameters_of(warmed_up)["warmup"], params["warmup"])
    for value in _leaves(list(params.values())):
        if isinstance(value, str) and value.startswith("$") and value not in RUN_VALUES:
            hint = perhaps(value, RUN_VALUES) or f"Available: {', '.join(RUN_VALUES)}."
            raise UsageError(f"{name}: there is no placeholder {value}.", hint=hint)
        if value == "$warmup" and not checked.get("warmup"):
            raise UsageError(f"{name}: $warmup is used, but no warmup is given.", hint="Add warmup=0.05.")
    return checked


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the values in arbitrarily nested lists."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, (list, tuple)):
        return [_filled(item, values) for item in value]
    return values.get(value, value) if isinstance(value, str) else value
