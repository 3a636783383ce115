"""The command line: lists the commands, and turns the end of a run into an exit code.

0 ok; 1 the user's code or lrscout failed; 2 usage or recipe; 3 the target could not be loaded; 4 inconclusive;
5 a check failed; 130 interrupted.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer

import lrscout
from lrscout.commands import COMMANDS, TRAINING_COMMAND, Command, torchrun, variable_behind
from lrscout.commands.help import WIDEST, HelpfulCommand, HelpfulGroup
from lrscout.errors import ForeignError, LrscoutError, UsageError, did_you_mean
from lrscout.report.stdout import open_standard_descriptors, redirect_stdout_to_stderr

UsageMistake: Any = typer.BadParameter.__base__  # typer does not export it
# rich_markup_mode=None: help stays plain text, which costs no import of rich and keeps brackets as they are
SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
}


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Turns typer's mistakes into ours, which are shown alike.

    Raises:
        UsageError: the mistake.
    """
    try:
        yield
    except UsageMistake as error:
        close = getattr(error, "possibilities", None) or ()
        message = error.message if close else error.format_message()
        command = error.ctx.command_path if error.ctx is not None else "lrscout"
        hint = f"Did you mean {' or '.join(close)}?" if close else f"`{command} --help` tells what there is."
        message = message.partition(", unable to parse")[0].rstrip(".")
        raise UsageError(f"{message}.", hint=_where_it_is(getattr(error, "option_name", "")) or hint) from None


def _where_it_is(flag: str) -> str | None:
    """The hint for an option that only other commands have."""
    from lrscout.commands.options import commands_with  # here and not above: it brings all settings

    others = commands_with(flag)
    named = " and ".join(filter(None, [", ".join(others[:-1]), *others[-1:]]))
    return f"It is an option of {named}: leave it out." if others else None


def _closest_command(name: str) -> str:
    """The hint for a command that there is not: the one that shares most words with it, or is written most like it."""
    words = set(name.split("-"))
    shared = max(COMMANDS, key=lambda known: len(words & set(known.split("-"))))
    if words & set(shared.split("-")):
        return f"Did you mean {shared!r}?"
    return did_you_mean(name, tuple(COMMANDS))


class LazyGroup(HelpfulGroup):
    """Lists all commands by their names and help, and imports the one that is called."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args:
            return super().parse_args(ctx, args)  # shows the help
        with _in_our_words():
            return super().parse_args(ctx, [*args[1:2], "--help"] if args[0] == "help" else args)

    def invoke(self, ctx: Any) -> Any:
        with _in_our_words():
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise UsageError(f"There is no command {args[0]!r}.", hint=_closest_command(args[0]))
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed if name is None else _loaded(name, COMMANDS[name]), rest


class TrainingCommand(HelpfulCommand):
    """Keeps what follows `--`, a training command; reports a bad value under the name of the variable it comes from."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args and any(parameter.name == "target" for parameter in self.params):
            at = args.index("--")
            args, ctx.meta[TRAINING_COMMAND] = args[:at], tuple(args[at + 1 :])
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if error.param is not None:
                error.param_hint = variable_behind(ctx, error.param) or error.param_hint
            raise


def _loaded(name: str, command: Command) -> Any:
    """The command with its options."""
    alone = typer.Typer(**SETTINGS, add_completion=False)
    alone.command(name, cls=TrainingCommand, epilog=command.epilog)(command.load())
    found: Any = typer.main.get_command(alone)
    found.examples = command.examples
    return found


app = typer.Typer(**SETTINGS, cls=LazyGroup, no_args_is_help=True)
for _name, _command in COMMANDS.items():
    app.command(_name, help=_command.summary)(lambda: None)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lrscout {lrscout.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Find the learning rate, the batch size and the schedule for any PyTorch code before the real training starts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        torchrun.take_over()
        app(args=None if arguments is None else list(arguments), prog_name="lrscout")
    except SystemExit as end:  # how typer ends, always
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except ForeignError as error:
        return _tell(error.__cause__ or error)
    except Exception as error:
        return _tell(error)
    return 0


def _tell(error: BaseException) -> int:
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
    open_standard_descriptors()
    with suppress(RuntimeError, OSError, ValueError):  # stderr is missing or closed
        faulthandler.enable(all_threads=False)  # a segfault in the user's code tells where it happened
    code = 0 if torchrun.is_left_to_the_first() else main()
    redirect_stdout_to_stderr()
    if "torch" not in sys.modules:
        sys.exit(code)
    # With torch loaded, taking the interpreter apart costs a second. Exit handlers run; what is left are frees.
    with suppress(KeyboardInterrupt):  # one of the user's may hang
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # missing, broken, closed
            stream.flush()
    os._exit(code)
