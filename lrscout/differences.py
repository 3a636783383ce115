"""What two records of a command are compared by, how far they are apart, and how far they may be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lrscout.errors import UsageError, did_you_mean
from lrscout.formatting import format_bytes, format_loss, format_lr, format_rate, format_seconds
from lrscout.results import BatchSizeResult, CompareResult, RunRecord
from lrscout.search.conditions import Check

Value = float | tuple[str, ...] | None
"""A number, or names: the first is the answer, the others are as good. None if the record has none."""

LONGEST = 40  # characters of a limit
PERCENT_FROM, PERCENT_TO = 0.8, 1.25  # factors that are easier to read as a percentage


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that the results of a command are compared by."""

    read: Callable[[Any], Value]
    text: Callable[[float], str] = str
    worse: Literal["either", "higher", "lower"] = "either"  # in which direction a change is checked
    limit: str | None = None  # how far it may be from a baseline, where the user does not say


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _speed(result: BatchSizeResult) -> float | None:
    found = result.timing_of(result.answer) or result.trial_of(result.answer)
    return None if found is None else found.samples_per_second


def _peak(result: BatchSizeResult) -> float | None:
    trial = result.trial_of(result.answer)
    return None if trial is None else trial.peak_bytes


def _best(result: CompareResult) -> tuple[str, ...] | None:
    if not result.ranking or result.ranking[0].final is None:
        return None
    first, *others = result.ranking
    return (first.label, *(row.label for row in others if row.verdict in ("best", "tie")))


def _metric(result: CompareResult, mode: str) -> float | None:
    final = result.ranking[0].final if result.ranking and result.metric.mode == mode else None
    return None if final is None else final.mean


QUANTITIES: dict[str, dict[str, Quantity]] = {
    "check": {
        "failed": Quantity(lambda r: len(r.named("fail")), _whole, worse="higher"),
        "warned": Quantity(lambda r: len(r.named("warn")), _whole, worse="higher"),
        "seconds": Quantity(lambda r: r.seconds, format_seconds, worse="higher"),
    },
    "find-lr": {
        "lr": Quantity(lambda r: r.suggestion.lr, format_lr, limit="2x"),
        "usable_from": Quantity(lambda r: r.suggestion.low, format_lr),
        "usable_to": Quantity(lambda r: r.suggestion.high, format_lr),
        "steps": Quantity(lambda r: r.steps, _whole, worse="higher"),
        "seconds": Quantity(lambda r: r.seconds, format_seconds, worse="higher"),
    },
    "find-batch-size": {
        "batch_size": Quantity(lambda r: r.answer, _whole, limit="2x"),
        "largest": Quantity(lambda r: r.largest_fitting, _whole, worse="lower", limit="25%"),
        "samples_per_second": Quantity(_speed, format_rate, worse="lower"),
        "peak_bytes": Quantity(_peak, format_bytes, worse="higher"),
        "noise_scale": Quantity(lambda r: r.noise_scale, format_rate),
        "seconds": Quantity(lambda r: r.seconds, format_seconds, worse="higher"),
    },
    "compare-schedulers": {
        "best": Quantity(_best, limit="same"),
        "loss": Quantity(lambda r: _metric(r, "min"), format_loss, worse="higher", limit="10%"),
        "score": Quantity(lambda r: _metric(r, "max"), format_loss, worse="lower", limit="10%"),
        "lr": Quantity(lambda r: r.ranking[0].peak_lr if r.ranking else None, format_lr),
        "seconds": Quantity(lambda r: r.seconds, format_seconds, worse="higher"),
    },
    "tune": {
        "batch_size": Quantity(lambda r: r.batch_size, _whole, limit="2x"),
        "lr": Quantity(lambda r: r.lr, format_lr, limit="2x"),
        "schedule": Quantity(lambda r: (r.schedule,) if r.schedule is not None else None, limit="same"),
        "seconds": Quantity(lambda r: r.seconds, format_seconds, worse="higher"),
    },
    "run": {
        "loss": Quantity(lambda r: r.final_loss, format_loss, worse="higher"),
        "lr": Quantity(lambda r: r.peak_lr, format_lr),
        "steps": Quantity(lambda r: r.steps_taken, _whole),
        "seconds": Quantity(lambda r: r.seconds, format_seconds, worse="higher"),
    },
}
"""The quantities of each command by name. Those with a limit are what `--against` checks by itself."""


def values_of(record: RunRecord[Any]) -> dict[str, Value]:
    """All quantities of a record; None where it has none."""
    found: dict[str, Value] = {}
    for name, quantity in QUANTITIES[record.command].items():
        value = quantity.read(record.result) if record.result is not None else None
        found[name] = None if isinstance(value, float) and not math.isfinite(value) else value
    return found


def told(command: str, name: str, value: Value) -> str:
    """A quantity as text."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return value[0] + (f", tied with {' and '.join(value[1:])}" if value[1:] else "")
    return QUANTITIES[command][name].text(value)


def factor(old: object, new: object) -> float | None:
    """How many times as large a number has become; None unless both are positive."""
    numbers = [value for value in (old, new) if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) < 2 or not all(0 < value < math.inf for value in numbers):
        return None
    found = float(numbers[1]) / float(numbers[0])
    return found if 0 < found < math.inf else None


def times(size: float | None) -> str:
    """A factor as text: x2.1, x0.48, +3.0%."""
    if size is None:
        return ""
    if size == 1 or PERCENT_FROM < size < PERCENT_TO:
        return "" if size == 1 else f"{size - 1:+.1%}"
    return f"x{size:.2g}" if 1e-3 < size < 99.5 else f"x{size:.0f}" if 1 < size < 1e6 else f"x{size:.1e}"


@dataclass(frozen=True, slots=True)
class Limit:
    """How far a quantity may be from its baseline."""

    kind: Literal["factor", "share", "amount", "any"]
    size: float = 0.0

    def allows(self, old: Value, new: Value, worse: str = "either") -> bool:
        """Whether a quantity may become this; that it is gone is never allowed."""
        if self.kind == "any" or old is None:
            return True
        if new is None:
            return False
        if isinstance(old, tuple) or isinstance(new, tuple):
            return isinstance(old, tuple) and isinstance(new, tuple) and old[0] in new
        if (worse == "higher" and new <= old) or (worse == "lower" and new >= old) or new == old:
            return True
        if self.kind == "factor":
            low, high = sorted((abs(old), abs(new)))
            return old * new > 0 and high <= low * self.size
        return abs(new - old) <= (self.size * abs(old) if self.kind == "share" else self.size)


_LIMIT = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)(x|%|)")


def parse_limit(text: str, name: str) -> Limit:
    """A limit: 2x, 10%, 0.05, same or any.

    Raises:
        UsageError: it is none of them.
    """
    if text in ("same", "any"):
        return Limit("any") if text == "any" else Limit("amount", 0.0)
    found = _LIMIT.fullmatch(text) if len(text) <= LONGEST else None
    size = float(found[1]) if found is not None else math.nan
    if found is None or not math.isfinite(size):
        raise UsageError(
            f"--tolerance {name}={text[:LONGEST]} is not a limit.",
            hint=f"For example {name}=2x (a factor), {name}=10%, {name}=0.05 (a difference), or same, or any.",
        )
    if found[2] == "x":
        if size < 1:
            raise UsageError(f"--tolerance {name}={text} must be at least 1x.", hint=f"{name}=1x allows no change.")
        return Limit("factor", size)
    return Limit("share", size / 100) if found[2] else Limit("amount", size)


def parse_tolerance(text: str | None, command: str) -> dict[str, str]:
    """What is checked for a command, and how far each quantity may be: the defaults, and over them `lr=2x,best=any`.

    Raises:
        UsageError: the text cannot be read, or names something that the command does not have.
    """
    known = QUANTITIES[command]
    found = {name: quantity.limit for name, quantity in known.items() if quantity.limit is not None}
    given: dict[str, str] = {}
    for part in text.split(",") if text is not None else ():
        name, equals, limit = (word.strip() for word in part.partition("="))
        if not equals:
            raise UsageError(f"--tolerance {part.strip()[:LONGEST]!r} must be NAME=LIMIT.", hint="For example lr=2x.")
        if name not in known:
            hint = did_you_mean(name, tuple(known))
            raise UsageError(f"--tolerance: {command} has no {name[:LONGEST]!r} to compare.", hint=hint)
        if name in given:
            raise UsageError(f"--tolerance has {name} twice: {given[name]} and {limit}.", hint="Give it once.")
        if parse_limit(limit, name).kind in ("factor", "share") and known[name].limit == "same":
            raise UsageError(f"--tolerance {name}={limit}: {name} is a name.", hint=f"Use {name}=same or {name}=any.")
        given[name] = limit
    return {**found, **given}


def check_limits(old: RunRecord[Any], new: RunRecord[Any], limits: Mapping[str, str], called: str) -> list[Check]:
    """Whether each quantity of the old record, which is `called` so, is within its limit."""
    before, now = values_of(old), values_of(new)
    found = []
    for name, text in limits.items():
        if before[name] is not None:
            passed = parse_limit(text, name).allows(before[name], now[name], QUANTITIES[new.command][name].worse)
            values = [told(new.command, name, value) for value in (now[name], before[name])]
            size = times(factor(before[name], now[name]))
            detail = f"is {values[0]}, was {values[1]}{f', {size}' if size else ''}"
            found.append(Check(f"{name} within {text} of {called}", passed, detail))
    return found


@dataclass(frozen=True, slots=True)
class Change:
    """A value that two records do not share."""

    name: str
    old: Any
    new: Any


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """What two mappings do not share, in the order of the old one; None where one lacks it."""
    names: Sequence[str] = [*old, *(name for name in new if name not in old)]
    return [Change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]
