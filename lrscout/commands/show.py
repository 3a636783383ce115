"""`lrscout show`: draw a record again, without importing torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lrscout.commands.run import show as show_record
from lrscout.history import last_record
from lrscout.records import consistent, load
from lrscout.report.output import Output


def show(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Record to show; by default the last.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    width: Annotated[int | None, typer.Option(min=24, max=1000, help="Width of tables and plots, in columns.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show more: the memory of a batch size.")] = False,
) -> None:
    """Show the record of an earlier run again."""
    output = Output(sys.stdout, sys.stderr, mode="json" if json else "human", width=width, verbose=verbose)
    path = file if file is not None else last_record()[0]
    record = load(path)
    output.note(f"Record: {path}")
    with consistent(str(path)):
        show_record(record, output)
