"""What changed from one record to another, as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lrscout.differences import Change, changes, factor, times, told, values_of
from lrscout.report.tables import add_row, rendered, table
from lrscout.report.terminal import Style
from lrscout.results import RunRecord

Records = tuple[RunRecord[Any], RunRecord[Any]]  # of one command


def sections_of(old: RunRecord[Any], new: RunRecord[Any]) -> dict[str, list[Change]]:
    """What the records do not share: quantities, how the runs ended, target, settings and environment."""
    ends = [{"status": record.status, "error": record.error} for record in (old, new)]
    return {
        "answer": changes(values_of(old), values_of(new)),
        "end": changes(*ends),
        "target": changes(old.target, new.target),
        "settings": changes(old.settings, new.settings),
        "environment": changes(old.environment, new.environment),
    }


def diff_text(records: Records, names: tuple[str, str], style: Style) -> str:
    """A table for each section that has something in it."""
    old, new = records
    sections = {title: found for title, found in sections_of(old, new).items() if found}
    if not sections:
        return f"{names[0]} and {names[1]} ({old.command}) are alike."
    blocks = []
    for title, found in sections.items():
        is_answer = title == "answer"
        changed = any(factor(each.old, each.new) is not None for each in found)
        lines = table(style, title, *names, *(["change"] if changed else []), left=(0, 1, 2))
        for each in found:
            values = [
                told(old.command, each.name, value) if is_answer else _plain(value) for value in (each.old, each.new)
            ]
            name = each.name.replace("_", " ") if is_answer else each.name
            add_row(lines, [name, *values, *([times(factor(each.old, each.new))] if changed else [])])
        blocks.append(rendered(lines, style))
    return "\n\n".join(blocks)


def diff_document(records: Records, paths: tuple[str, str]) -> dict[str, Any]:
    """The same as a mapping, with all quantities; `change` is new / old of two positive numbers."""
    old, new = records
    before, now = values_of(old), values_of(new)
    sections = sections_of(old, new) | {"answer": [Change(name, before[name], now[name]) for name in before]}
    return {
        "command": old.command,
        "old": paths[0],
        "new": paths[1],
        **{title: {each.name: _pair(each) for each in found} for title, found in sections.items()},
    }


def _pair(change: Change) -> Mapping[str, Any]:
    return {"old": change.old, "new": change.new, "change": factor(change.old, change.new)}


def _plain(value: Any) -> str:
    """A setting as text: what is not there, or not set, is empty."""
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
