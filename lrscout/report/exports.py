"""The formats that a record can be written in."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from lrscout.errors import LrscoutError, RecordError, UsageError
from lrscout.files import check_folder, check_writable, make_folder, write_bytes, write_text
from lrscout.records import to_json
from lrscout.report.blocks import setting_text
from lrscout.report.markdown import code, inline, markdown_block, markdown_table
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
    blocks += map(markdown_block, view.blocks(record))
    blocks.append("\n".join(f"- {name}: {inline(value)}" for name, value in view.facts(record).items()))
    if record.warnings:
        blocks.append("### Warnings\n\n" + "\n".join(f"- {inline(warning)}" for warning in record.warnings))
    if record.settings:
        given = [(name, value) for name, value in record.settings.items() if value is not None]
        settings = [(code(name), code(setting_text(value))) for name, value in given]
        blocks.append("### Settings\n\n" + markdown_table(("setting", "value"), settings))
    return "\n\n".join(filter(None, blocks)) + "\n"


def to_html(record: RunRecord[Any]) -> str:
    """A web page of one file."""
    from lrscout.report import html  # which few runs use, as all that follows

    return html.to_html(record)


def to_svg(record: RunRecord[Any]) -> bytes:
    """The plots as lines and text."""
    from lrscout.report.figure import draw_figure

    return draw_figure(record, "svg")


def to_png(record: RunRecord[Any]) -> bytes:
    """The plots as pixels."""
    from lrscout.report.figure import draw_figure

    return draw_figure(record, "png")


def to_tensorboard(record: RunRecord[Any]) -> bytes:
    """The measurements as scalars."""
    from lrscout.report.events import to_events

    return to_events(record)


@dataclass(frozen=True, slots=True)
class Export:
    """A format that a record can be written in."""

    title: str  # as --help calls it
    make: Callable[[RunRecord[Any]], str | bytes]
    needs: tuple[str, str] | None = None  # the module that makes it, and the extra of lrscout that brings it
    inside: str | None = None  # the name of the file, where what the user names is a folder for it

    @property
    def flag(self) -> dict[str, Any]:
        """How the flag is declared."""
        metavar = "FILE" if self.inside is None else "FOLDER"
        return {"metavar": metavar, "dir_okay": True, "help": f"Also write the result as {self.title}."}

    def check(self, path: Path) -> None:
        """Check that the record can be written there, before a long run.

        Raises:
            UsageError: what it needs is not installed, or the file cannot be written.
        """
        if self.needs is not None and find_spec(self.needs[0]) is None:
            raise UsageError(
                f"Cannot write {self.title}: the package {self.needs[0]} is not installed.",
                hint=f"pip install {self.needs[0]}, or install lrscout with its extra [{self.needs[1]}].",
            )
        if self.inside is None:
            check_writable(path)
        else:
            check_folder(path)

    def write(self, record: RunRecord[Any], path: Path) -> None:
        """Write the record.

        Raises:
            RecordError: the file cannot be written.
        """
        made = self.make(record)
        if self.inside is not None:
            make_folder(path)
            path /= self.inside
        if isinstance(made, str):
            write_text(path, made)
        else:
            write_bytes(path, made)


EXPORTS = {
    "json": Export("JSON", lambda record: to_json(record) + "\n"),
    "csv": Export("CSV", to_csv),
    "markdown": Export("Markdown", to_markdown),
    "html": Export("an interactive web page", to_html),
    "svg": Export("an SVG picture", to_svg, ("matplotlib", "plots")),
    "png": Export("a PNG picture", to_png, ("matplotlib", "plots")),
    "tensorboard": Export(
        "events for TensorBoard", to_tensorboard, ("tensorboard", "tensorboard"), "events.out.tfevents.lrscout"
    ),
}


def write_exports(record: RunRecord[Any], paths: Mapping[str, Path]) -> list[LrscoutError]:
    """Write a record in several formats; the errors of those that cannot be written."""
    problems: list[LrscoutError] = []
    for name, path in paths.items():
        try:
            EXPORTS[name].write(record, path)
        except RecordError as error:
            problems.append(error)
    return problems
