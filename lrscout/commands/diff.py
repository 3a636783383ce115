"""`lrscout diff`: what changed between two records, without importing torch."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lrscout.commands.completion import completer_of
from lrscout.commands.invocation import checked_color, mode_of
from lrscout.commands.options import ColorFlag
from lrscout.errors import UsageError
from lrscout.history import find_record, last_record, short_name
from lrscout.records import consistent, escaped_json, load
from lrscout.report.output import Output
from lrscout.report.views import printed


def diff(
    old: Annotated[
        str,
        typer.Argument(
            metavar="OLD", help="Record: a file, or an id of `lrscout runs`.", autocompletion=completer_of("record")
        ),
    ],
    new: Annotated[
        str | None,
        typer.Argument(
            metavar="[NEW]", help="By default the last of this folder.", autocompletion=completer_of("record")
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
    width: Annotated[int | None, typer.Option(min=24, max=1000, help="Width of the tables, in columns.")] = None,
    color: ColorFlag = "auto",
) -> None:
    """Tell what changed between two runs of a command: the answer, the settings and the environment."""
    output = Output(sys.stdout, sys.stderr, mode=mode_of(json, False), width=width, color=checked_color(color))
    paths = (find_record(old), find_record(new) if new is not None else last_record()[0])
    records = (load(paths[0]), load(paths[1]))
    if records[0].command != records[1].command:
        raise UsageError(
            f"{short_name(paths[0])} is of {records[0].command}, and {short_name(paths[1])} of {records[1].command}.",
            hint="Give two records of one command.",
        )
    from lrscout.report.diff import diff_document, diff_text  # which brings rich

    with consistent(f"{paths[0]} or {paths[1]}"):
        if json:
            output.result(escaped_json(diff_document(records, (str(paths[0]), str(paths[1])))))
        else:
            names = (short_name(paths[0]), short_name(paths[1]))
            output.result(diff_text((printed(records[0]), printed(records[1])), names, output.results_style))
