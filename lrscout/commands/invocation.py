"""What the user asked for: flags, environment and recipe brought together.

Flags win over environment variables, these over the recipe, and the recipe over the defaults.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lrscout.commands.torchrun import check_trains_on_ranks
from lrscout.errors import RecordError, TargetError, UsageError, did_you_mean, perhaps
from lrscout.files import check_writable
from lrscout.pairs import parse_pairs
from lrscout.project import find_project
from lrscout.ranks.arguments import on_ranks
from lrscout.recipes import Recipe, load_recipe
from lrscout.report.exports import EXPORTS
from lrscout.report.output import COLORS, Color, Mode
from lrscout.results import CommandTarget, Target
from lrscout.settings import Kind, Settings, fields_of, make_settings, of_kind
from lrscout.target_paths import hint_for, is_path

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
    verbose: bool
    color: Color
    more: Mapping[str, Any]  # the command's own flags that are not settings
    ci: Mapping[str, str]  # service -> auto or off
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # flags and variables, as they were given
    project: Path | None = None  # the file of the current folder that settings have come from


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
    project = find_project() if values["recipe"] is None else None
    if project is not None and default_target is not None:  # for programs alone: those of a record, not the folder's
        project = dataclasses.replace(project, target=None)
    recipe = load_recipe(values["recipe"]) if values["recipe"] is not None else project
    asked, path = given, given.get("target")
    if recipe is not None and path is not None and training_command is None:
        if path in recipe.targets:
            recipe, given = recipe.named(path), {name: value for name, value in given.items() if name != "target"}
        elif project is not None:
            recipe = project.about_another(path)
    exports = {name: values[f"export_{name}"] for name in EXPORTS if values[f"export_{name}"] is not None}
    check_outputs(values["output"], exports)
    target = _target_from(recipe, values, given, training_command) or _default(default_target, values)
    check_trains_on_ranks(settings, command, target)
    kind: Kind = "command" if isinstance(target, CommandTarget) else "target"
    from_file = {} if recipe is None else recipe.settings_for(command)
    if project is not None:  # written for all targets
        from_file = of_kind(settings, from_file, kind)
    made = make_settings(settings, _with_given(settings, from_file, given))
    return Invocation(
        target=on_ranks(target, made),
        settings=made,
        # absolute, since the user's code may change the folder
        output=None if values["output"] is None else values["output"].absolute(),
        exports={name: path.absolute() for name, path in exports.items()},
        mode=mode_of(values["json"], values["quiet"]),
        width=values["width"],
        verbose=values.get("verbose", False),
        color=checked_color(values["color"]),
        more={},
        ci={name: values[name] for name in ("github", "gitlab")},
        given=asked,
        project=None if project is None else project.path,
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
    if path is not None and not is_path(path) and recipe is not None and recipe.targets:
        known = did_you_mean(path, tuple(recipe.targets))
        raise TargetError(f"{path!r} is neither a target nor the name of one in {recipe.path}.", hint=known)
    if path is None and recipe is not None and recipe.command is not None:
        return CommandTarget(recipe.command, str(recipe.path.absolute().parent))
    path = path or (recipe.target if recipe else None)
    if path is None:
        return None
    if ":" not in path:  # told before torch is imported
        raise TargetError(f"{path!r} is not a valid target.", hint=hint_for(path))
    kwargs = {**(recipe.kwargs if recipe else {}), **parse_pairs(values["kwarg"] or [], "--kwarg")}
    return Target(path, kwargs, str(values["app_dir"]))


def _default(
    default_target: Callable[[Mapping[str, Any]], CommandTarget] | None, values: Mapping[str, Any]
) -> CommandTarget:
    if default_target is not None:
        return default_target(values)
    hint = f"{TARGET_HELP} Or use `-- COMMAND`, or --recipe FILE with a target in it."
    raise UsageError("No target given.", hint=hint)


def mode_of(json: bool, quiet: bool) -> Mode:
    """What stdout gets.

    Raises:
        UsageError: both were asked for.
    """
    if json and quiet:
        raise UsageError("--json and --quiet cannot be combined.", hint="Both decide what stdout gets: use one.")
    return "json" if json else "quiet" if quiet else "human"


def _with_given(settings: type[S], from_file: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a file, overridden by what was given otherwise."""
    merged = dict(from_file)
    for field in fields_of(settings):
        if field.name not in given:
            continue
        value = given[field.name]
        if field.type is dict:
            value = {**merged.get(field.name, {}), **parse_pairs(value, field.flag)}
        merged.pop(f"no_{field.name}", None)
        merged[field.name] = value
    return merged


def checked_color(value: str) -> Color:
    """When to color.

    Raises:
        UsageError: --color does not know it.
    """
    for known in COLORS:
        if value == known:
            return known
    raise UsageError(f"--color {value} must be one of {', '.join(COLORS)}.", hint=perhaps(value, COLORS))


def _check_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError(
            "The folder that lrscout was started in does not exist any more.",
            hint="Go to another one, or `cd .` if it is back.",
        ) from None


def check_outputs(output: Path | None, exports: Mapping[str, Path]) -> None:
    """Check that everything can be written that was asked for.

    Raises:
        UsageError: it cannot.
    """
    if output is not None:
        check_writable(output)
    for name, path in exports.items():
        EXPORTS[name].check(path)
    named = [*([] if output is None else [output]), *exports.values()]
    for path in named:
        plain = os.path.isfile(path) or not os.path.exists(path)  # two outputs may well go to one device
        if plain and sum(os.path.realpath(other) == os.path.realpath(path) for other in named) > 1:
            raise RecordError(f"{path} is the file of two outputs.", hint="Give each its own file.")
