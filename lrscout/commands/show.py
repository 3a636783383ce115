"""`lrscout show`: draw a record again, without importing torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lrscout.commands.run import show as show_record
from lrscout.errors import RecordError
from lrscout.records import last_record, load
from lrscout.report.output import Output


def show(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Record to show; by default the last.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    width: Annotated[int | None, typer.Option(min=24, max=1000, help="Width of tables and plots, in columns.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show more: the memory of a batch size.")] = False,
) -> None:
    """Show the record of an earlier run again."""
    output = Output(sys.stdout, sys.stderr, mode="json" if json else "human", width=width, verbose=verbose)
    path = file if file is not None else last_record()
    record = load(path)
    output.note(f"Record: {path}")
    try:
        show_record(record, output)
    except (
        ArithmeticError,
        AssertionError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
        StopIteration,
    ) as error:
        # each field has been checked alone; what they say together, only the reports know
        raise RecordError(
            f"{path} cannot be shown: its values contradict each other ({type(error).__name__}: {error}).",
            hint="If nobody has changed it since lrscout wrote it, please report it as a bug, with the file.",
        ) from error
