"""What the user asked for: flags, environment and recipe brought together.

Flags win over environment variables, these over the recipe, and the recipe over the defaults.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lrscout.errors import RecordError, UsageError
from lrscout.files import check_writable
from lrscout.recipes import Recipe, load_recipe, parse_pairs
from lrscout.report.exports import EXPORTS
from lrscout.report.output import Mode
from lrscout.results import CommandTarget, Target
from lrscout.settings import Settings, check_kind, fields_of, make_settings

S = TypeVar("S", bound=Settings)

TARGET_HELP = "What to train: pkg.mod:attr, pkg.mod:Class.method or path/to/file.py:attr."


@dataclass(frozen=True, slots=True)
class Invocation(Generic[S]):
    """What the user asked for."""

    target: Target | CommandTarget
    settings: S
    output: Path | None  # where the record goes, absolute; None: the cache folder
    exports: Mapping[str, Path]  # format -> file, absolute
    mode: Mode
    width: int | None
    more: Mapping[str, Any]  # the command's own flags that are not settings


def read_invocation(
    command: str,
    settings: type[S],
    values: Mapping[str, Any],
    given: Mapping[str, Any],
    training_command: tuple[str, ...] | None = None,
    default_target: Callable[[Mapping[str, Any]], CommandTarget] | None = None,
) -> Invocation[S]:
    """Bring flags, environment and recipe together; `given` are the values that were not left at their default.

    `default_target` finds a target in all values, where none is given.

    Raises:
        UsageError: something cannot be used, found out before anything runs.
    """
    _check_folder()
    recipe = load_recipe(values["recipe"]) if values["recipe"] is not None else None
    exports = {name: values[f"export_{name}"] for name in EXPORTS if values[f"export_{name}"] is not None}
    _check_outputs([values["output"], *exports.values()])
    target = _target_from(recipe, values, given, training_command) or _default(default_target, values)
    made = make_settings(settings, _settings_from(command, settings, recipe, given))
    check_kind(made, "command" if isinstance(target, CommandTarget) else "target")
    return Invocation(
        target=target,
        settings=made,
        # absolute, since the user's code may change the folder
        output=None if values["output"] is None else values["output"].absolute(),
        exports={name: path.absolute() for name, path in exports.items()},
        mode=_mode(values["json"], values["quiet"]),
        width=values["width"],
        more={},
    )


def _target_from(
    recipe: Recipe | None, values: Mapping[str, Any], given: Mapping[str, Any], command: tuple[str, ...] | None
) -> Target | CommandTarget | None:
    """A training command wins over a target of the environment, and both over the recipe; None if there is none."""
    if command is not None:
        if not command:
            raise UsageError("Nothing follows `--`.", hint="For example lrscout find-lr -- python train.py.")
        unused = [f"--{name.replace('_', '-')}" for name in ("kwarg", "app_dir") if name in given]
        if unused:
            raise UsageError(
                f"{unused[0]} cannot be used with a command.", hint="Pass arguments in the command itself."
            )
        return CommandTarget(command, os.getcwd())
    path = given.get("target")
    if path is None and recipe is not None and recipe.command is not None:
        return CommandTarget(recipe.command, str(recipe.path.absolute().parent))
    path = path or (recipe.target if recipe else None)
    if path is None:
        return None
    kwargs = {**(recipe.kwargs if recipe else {}), **parse_pairs(values["kwarg"] or [], "--kwarg")}
    return Target(path, kwargs, str(values["app_dir"]))


def _default(
    default_target: Callable[[Mapping[str, Any]], CommandTarget] | None, values: Mapping[str, Any]
) -> CommandTarget:
    if default_target is not None:
        return default_target(values)
    hint = f"{TARGET_HELP} Or use `-- COMMAND`, or --recipe FILE with a target in it."
    raise UsageError("No target given.", hint=hint)


def _mode(json: bool, quiet: bool) -> Mode:
    if json and quiet:
        raise UsageError("--json and --quiet cannot be combined.", hint="Both decide what stdout gets: use one.")
    return "json" if json else "quiet" if quiet else "human"


def _settings_from(command: str, settings: type[S], recipe: Recipe | None, given: Mapping[str, Any]) -> dict[str, Any]:
    merged = recipe.settings_for(command) if recipe else {}
    for field in fields_of(settings):
        if field.name not in given:
            continue
        value = given[field.name]
        if field.type is dict:
            value = {**merged.get(field.name, {}), **parse_pairs(value, field.flag)}
        merged.pop(f"no_{field.name}", None)
        merged[field.name] = value
    return merged


def _check_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError(
            "The folder that lrscout was started in does not exist any more.",
            hint="Go to another one, or `cd .` if it is back.",
        ) from None


def _check_outputs(paths: list[Path | None]) -> None:
    named = [path for path in paths if path is not None]
    for path in named:
        check_writable(path)
        plain = os.path.isfile(path) or not os.path.exists(path)  # two outputs may well go to one device
        if plain and sum(os.path.realpath(other) == os.path.realpath(path) for other in named) > 1:
            raise RecordError(f"{path} is the file of two outputs.", hint="Give each its own file.")
