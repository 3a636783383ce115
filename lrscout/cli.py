"""The command line: registers the commands, and turns what ends a run into an exit code.

0 ok; 1 the user's code or lrscout failed; 2 usage or recipe; 3 the target could not be loaded; 4 inconclusive;
5 a check was not met; 130 interrupted.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

import lrscout
from lrscout.commands.compare_schedulers import compare_schedulers
from lrscout.commands.find_batch_size import find_batch_size
from lrscout.commands.find_lr import find_lr
from lrscout.commands.schedules import preview, schedules
from lrscout.commands.show import show
from lrscout.errors import LrscoutError
from lrscout.report.stdout import redirect_stdout_to_stderr

EPILOG = """Every option is also read from LRSCOUT_<OPTION>, and from LRSCOUT_<COMMAND>_<OPTION> for one command alone.
Flags win over the environment, the environment over a recipe."""

# rich_markup_mode=None: help stays plain text, which costs no import of rich and keeps brackets as they are
app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("find-lr", epilog=EPILOG)(find_lr)
app.command("find-batch-size", epilog=EPILOG)(find_batch_size)
app.command("compare-schedulers", epilog=EPILOG)(compare_schedulers)
app.command("schedules")(schedules)
app.command("preview")(preview)
app.command("show")(show)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lrscout {lrscout.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find the learning rate, the batch size and the schedule for any PyTorch code before the real training starts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="lrscout")
    except SystemExit as end:  # how typer ends, always
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except Exception as error:
        return _tell(error)
    return 0


def _tell(error: Exception) -> int:
    """Say what went wrong; returns the exit code."""
    from lrscout.report.output import Output

    output = Output(None, sys.stderr)
    if not isinstance(error, LrscoutError):
        output.user_error(error)
        return 1
    if error.shows_cause and error.__cause__ is not None:
        output.user_error(error.__cause__)
    output.error(error)
    return error.exit_code


def entry() -> None:
    """The console script."""
    code = main()
    redirect_stdout_to_stderr()
    if "torch" not in sys.modules:
        sys.exit(code)
    # With torch loaded, taking the interpreter apart costs a second. Exit handlers run; what is left are frees.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # missing, broken, closed
            stream.flush()
    os._exit(code)
