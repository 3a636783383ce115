"""The conditions that a script can impose on a comparison."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lrscout.errors import UsageError
from lrscout.formatting import format_loss
from lrscout.results import CompareResult
from lrscout.schedules import ScheduleSpec, schedule_among
from lrscout.search.comparison import MIN_SEEDS
from lrscout.search.paired import SIGNIFICANT, Estimate, difference_of, holm

_RELATION = re.compile(r"\s(worse|better)\s+than\s")
FORM = "Use the form 'cosine worse than constant', with worse, better, not worse or not better."


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition such as `left worse than right`, in terms of labels; with `--fail-if`, it must not hold."""

    left: str
    relation: str  # worse or better
    right: str
    negated: bool

    def __str__(self) -> str:
        return f"{self.left} {'not ' if self.negated else ''}{self.relation} than {self.right}"


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of checking a condition."""

    name: str
    passed: bool
    detail: str


def parse_condition(text: str, specs: Sequence[ScheduleSpec]) -> Condition:
    """Parse a condition as written by the user.

    Raises:
        UsageError: the text has another form, or names a schedule that is not compared.
    """
    text = text.strip()
    found = _RELATION.search(text)
    if found is None:
        raise UsageError(f"--fail-if {text!r} is not a valid condition.", hint=FORM)
    # cut by hand: a pattern for all of it takes quadratic time for many blanks
    words = text[: found.start()].rsplit(None, 1)
    is_negated = len(words) == 2 and words[1] == "not"
    names = words[0] if is_negated else text[: found.start()].rstrip(), text[found.end() :].lstrip()
    left, right = (schedule_among(name, specs).label for name in names)
    if left == right:
        raise UsageError(f"--fail-if {text!r} compares {left} with itself.", hint=FORM)
    return Condition(left, found[1], right, is_negated)


def check_conditions(conditions: Sequence[Condition], result: CompareResult) -> list[Check]:
    """Check that none of the conditions holds; the more there are, the stricter each test is (Holm).

    A schedule with diverged runs is worse than one without. If there are too few runs to decide, the check fails.
    """
    finals = _finals(result)
    diverged = {row.label: row.diverged for row in result.ranking}
    found = [difference_of(finals[c.left], finals[c.right], result.paired) for c in conditions]
    adjusted = holm([1.0 if estimate is None or estimate.p is None else estimate.p for estimate in found])
    return [_check(c, estimate, p, diverged) for c, estimate, p in zip(conditions, found, adjusted)]


def _check(condition: Condition, found: Estimate | None, p: float, diverged: Mapping[str, int]) -> Check:
    name = str(replace(condition, negated=not condition.negated))  # name the check after what must hold
    left, right = diverged[condition.left], diverged[condition.right]
    if (left > 0) != (right > 0):
        worse, detail = left > 0, f"diverged runs: {left} of {condition.left}, {right} of {condition.right}"
    elif found is None or found.n < MIN_SEEDS:
        return Check(name, False, f"{condition.left} and {condition.right} have too few runs in common")
    else:
        side = "behind" if found.mean > 0 else "ahead"
        detail = f"{condition.left} is {format_loss(abs(found.mean))} {side}, p = {p:.2g}"
        if p >= SIGNIFICANT:
            return Check(name, not condition.negated, detail)
        worse = found.mean > 0
    holds = worse == (condition.relation == "worse")
    return Check(name, holds == condition.negated, detail)


def check_best(expected: Sequence[str], result: CompareResult, min_effect: float) -> Check:
    """Check that one of these labels ranks first, or ties with the one that does."""
    first = next((row.label for row in result.ranking if row.final is not None), None)
    ahead = [] if first is None else [first, *_tied_with(first, result, min_effect)]
    name = f"best is {' or '.join(expected)}"
    found = " and ".join(ahead) or "none: no run completed"
    return Check(name, bool(set(ahead) & set(expected)), f"best {'are' if len(ahead) > 1 else 'is'} {found}")


def _tied_with(first: str, result: CompareResult, min_effect: float) -> list[str]:
    finals = _finals(result)
    others = [row.label for row in result.ranking if row.label != first and not row.diverged and row.final is not None]
    found = [difference_of(finals[label], finals[first], result.paired) for label in others]
    adjusted = holm([1.0 if each is None or each.p is None else each.p for each in found])
    return [
        label
        for label, each, p in zip(others, found, adjusted)
        if p >= SIGNIFICANT or each is None or abs(each.mean) <= min_effect
    ]


def _finals(result: CompareResult) -> dict[str, dict[int, float]]:
    """The final metrics of every schedule by seed, with signs such that smaller is better."""
    sign = -1.0 if result.metric.mode == "max" else 1.0
    finals: dict[str, dict[int, float]] = {row.label: {} for row in result.ranking}
    for run in result.runs:
        if run.role == "score" and run.final is not None:
            finals[run.label][run.seed] = sign * run.final
    return finals
