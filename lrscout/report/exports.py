"""Exports of a record: CSV for spreadsheets, Markdown for web pages."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from io import StringIO
from typing import Any

from lrscout.report.markdown import code, inline, markdown_table
from lrscout.report.views import printed, view_of
from lrscout.results import RunRecord


def to_csv(record: RunRecord[Any]) -> str:
    """The measurements with all digits; cells that are not finite are empty."""
    file = StringIO()
    rows = csv.writer(file, lineterminator="\n")
    for row in view_of(record).rows(printed(record)):
        rows.writerow([_csv_cell(cell) for cell in row])
    return file.getvalue()


def _csv_cell(value: object) -> object:
    if not isinstance(value, float):
        return "" if value is None else value
    return repr(value) if math.isfinite(value) else ""


def to_markdown(record: RunRecord[Any]) -> str:
    """The summary as GitHub-flavored Markdown, with plots in code blocks."""
    view, record = view_of(record), printed(record)
    blocks = [f"## {inline(view.headline(record))}"]
    blocks += view.markdown(record)
    blocks.append("\n".join(f"- {name}: {inline(value)}" for name, value in view.facts(record).items()))
    if record.warnings:
        blocks.append("### Warnings\n\n" + "\n".join(f"- {inline(warning)}" for warning in record.warnings))
    if record.settings:
        given = [(name, value) for name, value in record.settings.items() if value is not None]
        settings = [(code(name), code(_value(value))) for name, value in given]
        blocks.append("### Settings\n\n" + markdown_table(("setting", "value"), settings))
    return "\n\n".join(filter(None, blocks)) + "\n"


def _value(value: Any) -> str:
    """A setting as a recipe has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


EXPORTS: dict[str, Callable[[RunRecord[Any]], str]] = {"csv": to_csv, "markdown": to_markdown}
