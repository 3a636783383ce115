"""From a command's settings to its flags, and from flags, environment and recipe to its settings.

Flags win over environment variables over the recipe over the defaults.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from lrscout.commands import COMMANDS, TRAINING_COMMAND, variable_behind
from lrscout.commands.completion import completer_of
from lrscout.commands.invocation import TARGET_HELP, Invocation, read_invocation
from lrscout.errors import UsageError, perhaps
from lrscout.report.exports import EXPORTS
from lrscout.report.output import COLORS, Output
from lrscout.results import CommandTarget
from lrscout.settings import COMMANDS as SECTIONS
from lrscout.settings import Field, Settings, fields_of

S = TypeVar("S", bound=Settings)

CI_SERVICES = {"GitHub": "Groups in the log, step summary, outputs and errors", "GitLab": "Sections in the log"}
SHOWN_BY_VERBOSE = {
    "find_lr": "the rate of every rule, with what it is",
    "find_batch_size": "the peak memory of each phase of a step, and what the memory is made of",
    "compare_schedulers": "every run",
}
ColorFlag = Annotated[
    str, typer.Option("--color", metavar="|".join(COLORS), help="When to color.", autocompletion=completer_of("color"))
]
METAVARS = {int: "N", float: "X"}
PREFIX = "LRSCOUT_"  # of environment variables


def takes_settings(
    command: str,
    settings: type[S],
    more: Callable[[str], list[inspect.Parameter]] = lambda command: [],
    default_target: Callable[[Mapping[str, Any]], CommandTarget] | None = None,
) -> Callable[[Callable[[Invocation[S]], None]], Callable[..., None]]:
    """Give a function of an Invocation the flags of a command; `command` is its name in recipes.

    `more` makes the flags that are no settings: where its files go, what it tells other programs. `default_target`
    finds a target in the values of all flags, where none is given.
    """

    def decorate(run: Callable[[Invocation[S]], None]) -> Callable[..., None]:
        def command_line(ctx: typer.Context, **values: Any) -> None:
            for warning in unknown_variables(os.environ):
                Output(None, sys.stderr).warn(warning)
            given = {name: value for name, value in values.items() if _was_given(ctx, name)}
            try:
                training_command = ctx.meta.get(TRAINING_COMMAND)
                invocation = read_invocation(command, settings, values, given, training_command, default_target)
            except UsageError as error:
                raise _naming_variables(error, ctx) from error.__cause__
            run(replace(invocation, more={own.name: values[own.name] for own in more(command)}))

        parameters = [
            inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
            *_target_parameters(command, only_commands=default_target is not None),
            *more(command),
            *(_setting_parameter(field, command) for field in fields_of(settings)),
            *_output_parameters(command),
        ]
        command_line.__doc__ = run.__doc__
        command_line.__name__ = run.__name__
        command_line.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command_line.__annotations__ = {p.name: p.annotation for p in parameters}
        return command_line

    return decorate


def commands_with(flag: str) -> list[str]:
    """The commands that have a setting with this flag."""
    return [
        command.replace("_", "-")
        for command, settings in SECTIONS.items()
        if any(flag in (field.flag, *field.option.flags) for field in fields_of(settings))
    ]


def _naming_variables(error: UsageError, ctx: typer.Context) -> UsageError:
    """The error with the variable's name for that of a flag whose value comes from the environment."""
    message = error.message
    for parameter in ctx.command.params:
        variable = variable_behind(ctx, parameter)
        if variable is not None:
            message = re.sub(rf"{re.escape(max(parameter.opts, key=len))}(?![\w-])", variable, message)
    return type(error)(message, hint=error.hint)


def _was_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


_VARIABLES: set[str] = set()  # of all commands that are loaded


def _variables(name: str, command: str) -> list[str]:
    """The environment variables of a flag: the one for this command alone wins."""
    found = [f"{PREFIX}{command}_{name}".upper(), f"{PREFIX}{name}".upper()]
    _VARIABLES.update(found)
    return found


def without_variables(environ: Mapping[str, str], command: str, flags: Iterable[str]) -> dict[str, str]:
    """An environment without the variables of these flags of a command."""
    gone = {name for flag in flags for name in _variables(flag.strip("-").replace("-", "_"), command)}
    return {name: value for name, value in environ.items() if name not in gone}


def unknown_variables(environ: Iterable[str]) -> list[str]:
    """A warning for every variable that looks like ours and has no effect."""
    unknown = _unknown(environ)
    if unknown:  # another command may know it
        for command in COMMANDS.values():
            command.load()
        unknown = _unknown(unknown)
    return [
        " ".join(filter(None, [f"The environment variable {name} has no effect.", perhaps(name, sorted(_VARIABLES))]))
        for name in unknown
    ]


def _unknown(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(PREFIX) and name not in _VARIABLES)


def _parameter(name: str, kind: Any, default: Any, info: Any) -> inspect.Parameter:
    annotation = Annotated[kind, info]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _setting_parameter(field: Field, command: str) -> inspect.Parameter:
    flag, hints = field.flag, field.option
    declared = hints.flags or (f"{flag}/--no-{flag[2:]}" if field.type is bool else flag,)
    repeats = field.type in (dict, tuple)
    kind: Any = list[str] if repeats else field.type
    default = None if repeats else field.default
    metavar = hints.metavar or (
        "KEY=VALUE" if field.type is dict else "|".join(hints.choices) or METAVARS.get(field.type)
    )
    info = typer.Option(
        *declared,
        help=hints.help,
        metavar=metavar,
        envvar=_variables(flag.strip("-").replace("-", "_"), command),
        show_envvar=False,
        show_default=field.type is not bool,
        autocompletion=completer_of(field.name, hints.choices),
        rich_help_panel=hints.group,
    )
    return _parameter(field.name, kind | None if default is None else kind, default, info)


def flag_parameter(
    command: str, name: str, kind: Any, default: Any, *flags: str, group: str = "Output", **more: Any
) -> inspect.Parameter:
    """A flag that is no setting, with its environment variables."""
    variables = _variables(flags[0].strip("-").replace("-", "_"), command)
    more = {"autocompletion": completer_of(name), "rich_help_panel": group, **more}
    info = typer.Option(*flags, envvar=variables, show_envvar=False, **more)
    return _parameter(name, kind, default, info)


FILE: dict[str, Any] = {"metavar": "FILE", "dir_okay": True}


def _target_parameters(command: str, only_commands: bool) -> list[inspect.Parameter]:
    """What to train; what belongs to a target is hidden where there can be none."""
    option = partial(flag_parameter, command, group="Target")
    shown: dict[str, Any] = {"help": f"{TARGET_HELP} Or a command: -- python train.py.", "metavar": "TARGET"}
    if only_commands:
        shown = {"help": "What to run, as it stands: -- python train.py.", "metavar": "-- COMMAND"}
    target = typer.Argument(
        rich_help_panel="Target",
        envvar=_variables("target", command),
        show_envvar=False,
        autocompletion=completer_of("target"),
        **shown,
    )
    own: dict[str, Any] = {"hidden": only_commands}
    kwarg = {**own, "metavar": "KEY=VALUE", "help": "Argument of the target; repeatable."}
    app_dir = {**own, "metavar": "DIR", "help": "Folder to import the target from."}
    recipe = {**FILE, "help": "YAML file with a target and settings."}
    return [
        _parameter("target", str | None, None, target),
        option("kwarg", list[str] | None, None, "--kwarg", "-k", **kwarg),
        option("recipe", Path | None, None, "--recipe", **recipe),
        option("app_dir", Path, Path("."), "--app-dir", **app_dir),
    ]


def _output_parameters(command: str) -> list[inspect.Parameter]:
    """Where the answer goes, and what it looks like."""
    option = partial(flag_parameter, command)
    record = {**FILE, "help": "Write the record to this file instead of the cache folder."}
    width: dict[str, Any] = {"min": 24, "max": 1000, "metavar": "COLUMNS", "help": "Width of tables and plots."}
    more = SHOWN_BY_VERBOSE.get(command)
    verbose = option("verbose", bool, False, "--verbose", "-v", help=f"Also show {more}.")
    return [
        option("output", Path | None, None, "--output", "-o", **record),
        *_export_parameters(command),
        option("json", bool, False, "--json", help="Print the record as JSON on stdout, and nothing else."),
        option("quiet", bool, False, "--quiet", "-q", help="Print only the answer on stdout."),
        *([verbose] if more is not None else []),
        option("color", str, "auto", "--color", metavar="|".join(COLORS), help="When to color."),
        option("width", int | None, None, "--width", **width),
        *_ci_parameters(command),
    ]


def _ci_parameters(command: str) -> list[inspect.Parameter]:
    option = partial(flag_parameter, command, group="CI", metavar="auto|off")
    return [
        option(name.lower(), str, "auto", f"--{name.lower()}", help=f"{what} on {name}.")
        for name, what in CI_SERVICES.items()
    ]


def _export_parameters(command: str) -> list[inspect.Parameter]:
    return [
        flag_parameter(command, f"export_{name}", Path | None, None, f"--export-{name}", **export.flag)
        for name, export in EXPORTS.items()
    ]
