"""`lrscout runs`: list the records in the cache folder, without importing torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, get_args

import typer

from lrscout.commands.completion import completer_of
from lrscout.commands.invocation import checked_color, mode_of
from lrscout.commands.options import ColorFlag
from lrscout.errors import RecordError, UsageError, did_you_mean
from lrscout.history import cache_folder, cached_records, name_of
from lrscout.records import consistent, escaped_json, load
from lrscout.report.output import Output
from lrscout.report.runs import Entry, entry_of, runs_table
from lrscout.results import RESULTS, Status

DAMAGED = "damaged"
STATUSES = (*get_args(Status), DAMAGED)


def runs(
    command: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Only the runs of this command.", autocompletion=completer_of("command", (*RESULTS,))
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="TEXT", help="Only targets that contain this.")] = None,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(STATUSES),
            help="Only runs that ended so.",
            autocompletion=completer_of("status", STATUSES),
        ),
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many to list.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    width: Annotated[int | None, typer.Option(min=24, max=1000, help="Width of the table, in columns.")] = None,
    color: ColorFlag = "auto",
) -> None:
    """List earlier runs, newest first. `lrscout show ID` shows one of them again, `lrscout diff ID ID` compares two."""
    for flag, given, known in (("--command", command, tuple(RESULTS)), ("--status", status, STATUSES)):
        if given is not None and given not in known:
            raise UsageError(f"{flag} {given!r} is unknown.", hint=did_you_mean(given, known))
    output = Output(sys.stdout, sys.stderr, mode=mode_of(json, False), width=width, color=checked_color(color))
    wanted = (each for each in _entries(command) if status in (None, each.status) and (target or "") in each.target)
    found = list(islice(wanted, number))
    if json:
        output.result(escaped_json([each.as_dict() for each in found]))
    elif found:
        output.result(runs_table(found, output.results_style))
    else:
        output.note(f"No such runs in {cache_folder()}." if cached_records() else f"No records in {cache_folder()}.")


def _entries(command: str | None) -> Iterator[Entry]:
    """The runs, newest first; one that cannot be read has its name to tell of it."""
    for path in cached_records(command):
        name = name_of(path)
        try:
            record = load(path)
            with consistent(str(path)):
                yield entry_of(record, name.id, name.when, str(path))
        except RecordError as error:
            if not Path(path).exists():  # another run has made room for its own
                continue
            yield Entry(name.id, name.when, name.command, "", None, DAMAGED, str(path), error.message)
