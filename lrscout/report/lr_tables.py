"""The tables of find-lr as rows of text, which a terminal and Markdown lay out differently."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lrscout.formatting import format_lr
from lrscout.report.terminal import printable
from lrscout.results import LrRecord, LrResult, Suggestion, Use

USES: dict[Use, str] = {"decay": "the peak of a decaying schedule", "constant": "a constant rate"}
OPTIMIZER_HEAD = ("optimizer", "parameters", "learning rate", "confidence")


def use_table(result: LrResult, wide: bool = True) -> tuple[list[str], list[tuple[str, list[str], bool]]]:
    """The header, and for each use its name, its rates by length of training, and whether it is the suggested one.

    Unless `wide`, only the requested length of training is included.
    """
    head, columns = ["used as", "learning rate"], [result.uses]
    if wide and len(result.by_length) > 1:
        steps = [f"{int(n):,}" if n.isdecimal() else n for n in result.by_length]
        head, columns = ["training for", f"{steps[0]} steps", *steps[1:]], [*result.by_length.values()]
    rows = [
        (
            USES[use].removeprefix("the ").removeprefix("a "),
            [format_lr(lr) if (lr := column.get(use)) is not None else "none" for column in columns],
            use == result.suggestion.use,
        )
        for use in result.uses
    ]
    return head, rows


def rule_rows(result: LrResult) -> list[tuple[str, str, str, bool]]:
    """For each rule its name, its rate, its description, and whether the suggestion comes from it."""
    chosen = result.suggestion.rule if result.suggestion.lr is not None else None
    return [
        (rule, format_lr(lr) if lr is not None else "none", describe(rule), rule == chosen)
        for rule, lr in result.suggestions.items()
    ]


def optimizer_rows(record: LrRecord) -> list[list[str]]:
    """For each optimizer its number and class, its size, its rate now and as suggested, and the confidence."""
    rows = []
    for label, groups, suggestion in searched_optimizers(record):
        suggested = rate_or_none(suggestion)
        own = max((group["lr"] for group in groups), default=None)
        rows.append(
            [
                label,
                f"{sum(group['parameters'] for group in groups):,}",
                suggested if own is None else f"{format_lr(own)} -> {suggested}",
                suggestion.confidence or "",
            ]
        )
    return rows


def searched_optimizers(record: LrRecord) -> list[tuple[str, Sequence[Mapping[str, Any]], Suggestion]]:
    """For each optimizer that was searched in turn its number and class, its groups, and what was found."""
    result = record.result
    assert result is not None
    first = (1, record.environment.get("optimizer"), record.environment.get("groups") or (), result.suggestion)
    others = [(other.number, other.optimizer, other.groups, other.result.suggestion) for other in result.others]
    return [
        (printable(f"{number} {str(name).partition(' (')[0]}"), groups, found)
        for number, name, groups, found in (first, *others)
    ]


def rate_or_none(suggestion: Suggestion) -> str:
    """The suggested rate as text."""
    return "none" if suggestion.lr is None else format_lr(suggestion.lr)


def group_table(rates: Sequence[float], environment: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The header, and for each parameter group its name, its size, and its rate now and as suggested.

    Records written by versions that did not describe the groups have only the suggested rates.
    """
    groups = environment.get("groups") or ()
    if len(groups) != len(rates):
        return ["group", "learning rate"], [[str(index), format_lr(lr)] for index, lr in enumerate(rates)]
    return ["group", "parameters", "learning rate"], [
        [
            group["name"] or str(index),
            f"{group['parameters']:,}",
            f"{format_lr(group['lr'])} -> {format_lr(lr)}",
        ]
        for index, (group, lr) in enumerate(zip(groups, rates))
    ]


def describe(rule: str) -> str:
    """The description of a rule: the first line of its docstring."""
    from lrscout.search.rules import RULES

    function: Callable[..., object] | None = RULES.get(rule)
    lines = ((function.__doc__ if function is not None else None) or "").strip().splitlines()
    return lines[0].removesuffix(".") if lines else ""
