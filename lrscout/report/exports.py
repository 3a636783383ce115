"""A record as a file for other programs: points for a spreadsheet, a summary for a page."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from io import StringIO

from lrscout.report.numbers import format_lr
from lrscout.report.tables import band, facts, headline, rule_rows
from lrscout.report.terminal import Style, printable
from lrscout.results import LrResult, RunRecord

PAGE = Style(width=80, color=False, unicode=True, live=False)


def to_csv(record: RunRecord) -> str:
    """The sweep's points, one a line, with every digit; a cell that is not finite is empty."""
    file = StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["step", "lr", "loss", "smoothed_loss"])
    for p in record.result.points if record.result is not None else ():
        rows.writerow([p.step, _exact(p.lr), _exact(p.loss), _exact(p.smoothed_loss)])
    return file.getvalue()


def _exact(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""


def to_markdown(record: RunRecord) -> str:
    """The summary as GitHub-flavored Markdown, the plot in a code block."""
    from lrscout.report.plot import plot_sweep  # here and not above: --help only wants the keys of EXPORTS

    blocks = [f"## {_inline(headline(record))}"]
    result = record.result
    if result is not None:
        blocks += [_inline(result.suggestion.reason)] if result.suggestion.reason else []
        usable = band(result.suggestion)
        blocks += [f"{usable.capitalize()}."] if usable else []
        blocks.append(_table(("rule", "learning rate", "what it is"), _rules(result)))
        if len(result.suggestion.groups) > 1:
            rates = [(str(i), format_lr(lr)) for i, lr in enumerate(result.suggestion.groups)]
            blocks.append(_table(("parameter group", "learning rate"), rates))
        blocks.append(f"```text\n{plot_sweep(result, PAGE)}\n```")
    blocks.append("\n".join(f"- {name}: {_inline(value)}" for name, value in facts(record).items()))
    if record.warnings:
        blocks.append("### Warnings\n\n" + "\n".join(f"- {_inline(warning)}" for warning in record.warnings))
    if record.settings:
        given = [(name, value) for name, value in record.settings.items() if value is not None]
        settings = [(_code(name), _code(value)) for name, value in given]
        blocks.append("### Settings\n\n" + _table(("setting", "value"), settings))
    return "\n\n".join(filter(None, blocks)) + "\n"


def _rules(result: LrResult) -> list[tuple[str, str, str]]:
    return [
        (f"**{_inline(rule)}**" if chosen else _inline(rule), rate, _inline(description))
        for rule, rate, description, chosen in rule_rows(result)
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _inline(text: object) -> str:
    """Text that Markdown shows as it stands."""
    return "".join("\\" + c if c in "\\`*_[]<>#" else c for c in printable(text))


def _code(text: object) -> str:
    """Text as code, fenced by more backticks than it holds."""
    plain = printable(text)
    fence = "`" * (max((len(run) for run in _runs(plain)), default=0) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") or not plain else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def _runs(text: str) -> list[str]:
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]


EXPORTS: dict[str, Callable[[RunRecord], str]] = {"csv": to_csv, "markdown": to_markdown}
