"""`lrscout show`: draw a record again, without importing torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lrscout.commands.completion import completer_of
from lrscout.commands.invocation import checked_color
from lrscout.commands.options import ColorFlag
from lrscout.records import consistent, last_record, load, to_json
from lrscout.report.output import Mode, Output
from lrscout.report.views import printed, view_of
from lrscout.results import RunRecord


def show(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="Record to show; by default the last.", autocompletion=completer_of("record")
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    width: Annotated[int | None, typer.Option(min=24, max=1000, help="Width of tables and plots, in columns.")] = None,
    color: ColorFlag = "auto",
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show more: all rules, the memory of a step, every run.")
    ] = False,
) -> None:
    """Show the record of an earlier run again."""
    mode: Mode = "json" if json else "human"
    output = Output(sys.stdout, sys.stderr, mode=mode, width=width, verbose=verbose, color=checked_color(color))
    path = file if file is not None else last_record()
    record = load(path)
    with consistent(str(path)):
        show_record(record, output, path)


def show_record(record: RunRecord[Any], output: Output, path: Path | None) -> None:
    """Put a record where the user reads it, in the output's mode; the answer comes last.

    `path` is the file that the record is in.
    """
    view, shown = view_of(record), printed(record)
    human = output.mode == "human"
    leading = view.details(shown, output.results_style) if human else ""
    if leading:
        output.result(leading)
    problem = view.problem(shown)
    if not human and problem is not None:
        output.warn(problem)
    for warning in shown.warnings:
        output.warn(warning)
    if path is not None:
        output.note(f"Record: {path}", dim=True)
    if human:
        output.result("\n" * bool(leading) + view.closing(shown, output.results_style))
    elif output.mode == "json":
        output.result(to_json(record))
    else:
        answer = view.answer(shown)
        if answer is not None:
            output.result(answer)
