"""`lrscout show`: draw records again, without importing torch."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lrscout.commands.completion import completer_of
from lrscout.commands.invocation import check_outputs, checked_color, mode_of
from lrscout.commands.options import ColorFlag
from lrscout.errors import UsageError
from lrscout.history import find_record, last_record, short_name
from lrscout.records import consistent, escaped_json, load, to_json
from lrscout.report.exports import EXPORTS, write_exports
from lrscout.report.output import Output
from lrscout.report.views import printed, view_of
from lrscout.results import RunRecord

FILES = "Records to show, by their files or their ids in `lrscout runs`; by default the last of this folder."


def with_exports(command: Callable[..., None]) -> Callable[..., None]:
    """Give a function that takes `exports` a flag for each format."""

    def command_line(**values: Any) -> None:
        given = {name: values.pop(f"export_{name}") for name in EXPORTS}
        command(**values, exports={name: path for name, path in given.items() if path is not None})

    shown = [each for name, each in inspect.signature(command, eval_str=True).parameters.items() if name != "exports"]
    formats = [
        inspect.Parameter(
            f"export_{name}",
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=None,
            annotation=Annotated[Path | None, typer.Option(f"--export-{name}", **export.flag)],
        )
        for name, export in EXPORTS.items()
    ]
    command_line.__signature__ = inspect.Signature([*shown, *formats])  # type: ignore[attr-defined]
    command_line.__annotations__ = {each.name: each.annotation for each in [*shown, *formats]}
    command_line.__doc__, command_line.__name__ = command.__doc__, command.__name__
    return command_line


@with_exports
def show(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE|ID]...", help=FILES, autocompletion=completer_of("record")),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the answer.")] = False,
    width: Annotated[int | None, typer.Option(min=24, max=1000, help="Width of tables and plots, in columns.")] = None,
    color: ColorFlag = "auto",
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show more: all rules, the memory of a step, every run.")
    ] = False,
    *,
    exports: Mapping[str, Path],
) -> None:
    """Show the record of an earlier run again, or several of a command in one table and one plot."""
    mode, shade = mode_of(json, quiet), checked_color(color)
    output = Output(sys.stdout, sys.stderr, mode=mode, width=width, verbose=verbose, color=shade)
    check_outputs(None, exports)
    paths = [find_record(name) for name in files or ()] or [_last(output)]
    records = {path: load(path) for path in paths}
    if len(records) > 1:
        _show_several(records, output, exports)
        return
    ((path, record),) = records.items()
    with consistent(str(path)):
        show_record(record, output, path)
        problems = write_exports(record, exports)
    for problem in problems[1:]:
        output.error(problem)
    if problems:
        raise problems[0]


def _last(output: Output) -> Path:
    path, is_own = last_record()
    if not is_own:
        output.note("No run of this folder is known; this is the last of all.")
    return path


def _show_several(records: Mapping[Path, RunRecord[Any]], output: Output, exports: Mapping[str, Path]) -> None:
    """Records of one command, together."""
    if exports:
        flag = f"--export-{next(iter(exports))}"
        raise UsageError(f"{flag} writes one record, and {len(records)} are given.", hint="Show them one at a time.")
    commands = dict.fromkeys(record.command for record in records.values())
    if len(commands) > 1:
        raise UsageError(
            f"The records are of {' and '.join(commands)}, which have nothing in common to show.",
            hint="Give records of one command.",
        )
    if output.mode == "json":
        output.result(escaped_json([*records.values()]))
        return
    with consistent(" and ".join(map(str, records))):
        if output.mode == "quiet":
            output.result("\n".join(view_of(record).answer(printed(record)) or "none" for record in records.values()))
        else:
            from lrscout.report.several import show_several  # which brings rich

            named = {short_name(path): printed(record) for path, record in records.items()}
            if len(named) < len(records):
                named = {str(path): printed(record) for path, record in records.items()}
            output.result(show_several(named, output.results_style))


def show_record(record: RunRecord[Any], output: Output, path: Path | None) -> None:
    """Put a record where the user reads it, in the output's mode; the answer comes last.

    `path` is the file that the record is in.
    """
    view, shown, style = view_of(record), printed(record), output.results_style
    human = output.mode == "human"
    leading = f"{view.details(shown, style)}\n\n".lstrip("\n") if human else ""
    if leading and style.rows is not None:  # a window, which shows the messages too; a pipe gets one block
        output.result(leading)
        leading = "\n"
    problem = view.problem(shown)
    if not human and problem is not None:
        output.warn(problem)
    for warning in shown.warnings:
        output.warn(warning)
    if path is not None:
        output.note(f"Record: {path}", dim=True)
    if human:
        output.result(leading + view.closing(shown, style))
    elif output.mode == "json":
        output.result(to_json(record))
    else:
        answer = view.answer(shown)
        if answer is not None:
            output.result(answer)
