"""YAML recipes and key=value pairs to typed settings; errors carry file:line:column."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lrscout.errors import RecipeError, UsageError, did_you_mean, perhaps
from lrscout.settings import (
    COMMANDS,
    COMMON,
    Field,
    Option,
    SessionSettings,
    Settings,
    bounds_problem,
    coerce,
    fields_of,
    positive_name,
    told,
)
from lrscout.yaml_nodes import NOWHERE, Document, Node, PlainDocument

VERSION = 1  # of the recipe schema
MAX_BYTES = 1_000_000  # of a recipe: more than anybody writes, and as much as is read of a checkpoint or a device


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe file, checked against the schema."""

    path: Path
    target: str | None  # relative to the current folder if it is a file
    command: tuple[str, ...] | None  # a training command instead, run in the recipe's folder
    kwargs: Mapping[str, Any]
    common: Mapping[str, Any]  # the settings in COMMON given at the top level
    sections: Mapping[str, Mapping[str, Any]]  # settings by command
    targets: Mapping[str, Recipe] = field(default_factory=dict)  # what each name stands for

    def settings_for(self, command: str) -> dict[str, Any]:
        """The common settings that the command has, overridden by those of its section."""
        known = {field.name for field in fields_of(COMMANDS[command])}
        common = {name: value for name, value in self.common.items() if name in known}
        return {**common, **self.sections.get(command, {})}

    def about_another(self, target: str) -> Recipe:
        """The settings for a target that the file does not name: arguments belong to the one that it names."""
        return self if target == self.target else replace(self, kwargs={})

    def named(self, name: str) -> Recipe:
        """One of the targets, with everything that it does not set itself."""
        own = self.targets[name]
        varied = own.target is None and own.command is None  # the same target, with other arguments
        return replace(
            self,
            target=self.target if varied else own.target,
            command=self.command if varied else own.command,
            kwargs={**self.kwargs, **own.kwargs} if varied else own.kwargs,
            common={**self.common, **own.common},
            sections={
                each: {**self.sections.get(each, {}), **own.sections.get(each, {})}
                for each in {**self.sections, **own.sections}
            },
        )


AnyDocument = Document | PlainDocument


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe.

    Raises:
        RecipeError: the file cannot be read or is invalid; the message lists all errors in order.
    """
    document = Document(read_text(path))
    return checked(path, document, "start with 'version: 1'")


def checked(path: Path, document: AnyDocument, start: str | None) -> Recipe:
    """The recipe in a document; `start` is how to begin one that has no version, where it must have one.

    Raises:
        RecipeError: it is invalid; the message lists all errors in order.
    """
    recipe = _check_recipe(path, document, start)
    if document.problems:
        lines = [
            f"{path}: {message}" if (line, column) == NOWHERE else f"{path}:{line}:{column}: {message}"
            for line, column, message in sorted(document.problems)
        ]
        raise RecipeError("\n".join(lines if len(lines) == 1 else [f"{len(lines)} errors in {path}:", *lines]))
    return recipe


# Validation against the declared settings


def read_text(path: Path) -> str:
    """The text of a file of settings.

    Raises:
        RecipeError: it cannot be read, or is not UTF-8.
    """
    hint = "--recipe takes the path of a YAML file."
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise RecipeError(f"{path} has more than the {MAX_BYTES} bytes of a recipe.", hint=hint)
        return content.decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{path}:{line}: the file is not valid UTF-8.", hint="Save the recipe as UTF-8.") from None
    except (OSError, ValueError) as error:  # ValueError: the path contains a null character
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(f"Cannot read the recipe {path}: {reason}.", hint=hint) from None


def _check_recipe(path: Path, document: AnyDocument, start: str | None) -> Recipe:
    root = document.root
    top = _check_settings(document, root, [VERSION_FIELD, *_target_fields(), TARGETS_FIELD], SessionSettings)
    if not root.broken and not isinstance(root.value, dict):
        problem = "the recipe is empty" if root.value is None else "the recipe must be a mapping"
        document.add_problem(root.position, f"{problem}; {start}")
    elif not root.broken and "version" not in top and start is not None:
        document.add_problem(root.position, f"version is missing; {start}")
    elif top.get("version") not in (VERSION, None):
        _, node = root.entries["version"]
        document.add_problem(node.position, f"version must be {VERSION}, not {node.value}")
    recipe = _recipe_of(path, document, root, top)
    if not top.get("targets"):
        return recipe
    return replace(recipe, targets=_named_targets(path, document, root.entries["targets"][1]))


def _recipe_of(path: Path, document: AnyDocument, node: Node, values: Mapping[str, Any]) -> Recipe:
    """What a mapping says of a target and the settings for it."""
    if values.get("target") and values.get("command"):
        document.add_problem(node.entries["command"][0].position, "a recipe has a target or a command, not both")
    return Recipe(
        path=path,
        target=_from_folder(values.get("target"), path.absolute().parent),
        command=tuple(map(str, values["command"])) if values.get("command") else None,
        kwargs=values.get("kwargs") or {},
        common={name: values[name] for name in COMMON if name in values},
        sections={
            name: _check_settings(document, node.entries[name][1], fields_of(settings), settings)
            for name, settings in COMMANDS.items()
            if name in values
        },
    )


def _named_targets(path: Path, document: AnyDocument, node: Node) -> dict[str, Recipe]:
    found = {}
    for name, (key, value) in node.entries.items():
        if not isinstance(name, str) or ":" in name or not name.strip():
            document.add_problem(key.position, f"the name of a target must be text without a colon, not {name!r}")
        elif not value.broken and not isinstance(value.value, dict):
            document.add_problem(value.position, f"{name} must be a mapping, for example {{target: train.py:build}}")
        else:
            values = _check_settings(document, value, _target_fields(), SessionSettings)
            found[name] = _recipe_of(path, document, value, values)
    return found


VERSION_FIELD = Field("version", int, False, None, Option(""))
TARGETS_FIELD = Field("targets", dict, True, None, Option(""))


def _target_fields() -> list[Field]:
    """What can be said of a target, declared like settings so that the same checks apply."""
    target = [Field("target", str, False, None, Option(""))]
    target.append(Field("command", tuple, True, None, Option("", item=_check_word)))
    sections = [Field(name, dict, True, None, Option("")) for name in ("kwargs", *COMMANDS)]
    return [*target, *(f for f in fields_of(SessionSettings) if f.name in COMMON), *sections]


def _check_word(value: Any) -> Any:
    """A word of a command.

    Raises:
        UsageError: it is not a text or a number.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UsageError(f"a word of a command must be text or a number, not {value!r}")
    return value


def _check_settings(
    document: AnyDocument, node: Node, fields: Iterable[Field], settings: type[Settings]
) -> dict[str, Any]:
    """The values of a mapping by setting; None for a value that is invalid."""
    known = {f.name: f for f in fields}
    values: dict[str, Any] = {}
    for key, (key_node, value_node) in node.entries.items():
        if not isinstance(key, str):
            document.add_problem(key_node.position, f"keys must be text, not {key!r}")
            continue
        name, negated = positive_name(key, settings)
        if name not in known:
            document.add_problem(key_node.position, f"unknown key {key!r}. {did_you_mean(key, list(known))}")
        elif name in values:
            document.add_problem(key_node.position, f"{key!r} sets {name!r} twice")
        else:
            value = _check_value(document, value_node, known[name])
            values[name] = not value if negated and value is not None else value
    return values


def _check_value(document: AnyDocument, node: Node, setting: Field) -> Any:
    if node.broken or (setting.option.item is not None and _check_items(document, node, setting.option.item)):
        return None
    try:
        value = coerce(setting, node.value)
    except UsageError as error:
        document.add_problem(node.position, error.message.removesuffix("."))
        return None
    problem = bounds_problem(setting, value)
    if problem is not None:
        meant = perhaps(told(value), setting.option.choices)
        document.add_problem(
            node.position,
            ". ".join(
                filter(
                    None, [f"{setting.name} {told(value) if isinstance(value, int) else repr(value)} {problem}", meant]
                )
            ),
        )
    if setting.type is dict and setting.name not in (*COMMANDS, "targets"):  # whose keys are checked elsewhere
        for key, (key_node, _) in node.entries.items():
            if not isinstance(key, str):
                document.add_problem(key_node.position, f"keys of {setting.name} must be text, not {key!r}")
    return value


def _check_items(document: AnyDocument, node: Node, check: Callable[[Any], Any]) -> bool:
    """Report every invalid item of a list at its position; returns whether there are any."""
    broken = [item for item in node.items if item.broken]
    for item in node.items:
        try:
            if not item.broken:
                check(item.value)
        except UsageError as error:
            document.add_problem(item.position, str(error).replace("\n", " ").removesuffix("."))
            broken.append(item)
    return bool(broken)


def _from_folder(target: str | None, folder: Path) -> str | None:
    """The target relative to the current folder instead of the folder of the recipe; a module target is unchanged."""
    place, _, attributes = (target or "").rpartition(":")
    if not place.endswith(".py"):
        return target
    path = os.path.abspath(folder / os.path.expanduser(place))
    below = os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path
    return f"{below}:{attributes}"
