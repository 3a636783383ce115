"""YAML recipes and key=value pairs to typed settings; errors carry file:line:column."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrscout.errors import RecipeError, UsageError, did_you_mean, perhaps
from lrscout.settings import (
    COMMANDS,
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
from lrscout.yaml_nodes import Document, Node

VERSION = 1  # of the recipe schema
MAX_BYTES = 1_000_000  # of a recipe: more than anybody writes, and as much as is read of a checkpoint or a device
COMMON = ("seed", "device", "precision")  # settings allowed at the top level, for all commands


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe file, checked against the schema."""

    path: Path
    target: str | None  # relative to the current folder if it is a file
    command: tuple[str, ...] | None  # a training command instead, run in the recipe's folder
    kwargs: Mapping[str, Any]
    common: Mapping[str, Any]  # the settings in COMMON given at the top level
    sections: Mapping[str, Mapping[str, Any]]  # settings by command

    def settings_for(self, command: str) -> dict[str, Any]:
        """The common settings, overridden by those of the command's section."""
        return {**self.common, **self.sections.get(command, {})}


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe.

    Raises:
        RecipeError: the file cannot be read or is invalid; the message lists all errors in order.
    """
    document = Document(_read_text(path))
    recipe = _check_recipe(path, document)
    if document.problems:
        lines = [f"{path}:{line}:{column}: {message}" for line, column, message in sorted(document.problems)]
        raise RecipeError("\n".join(lines if len(lines) == 1 else [f"{len(lines)} errors in {path}:", *lines]))
    return recipe


def parse_value(text: str) -> Any:
    """The value of `text` as it would be read from a recipe.

    Raises:
        UsageError: the text is not valid YAML.
    """
    document = Document(text)
    if text.lstrip().startswith("#"):
        document.add_problem((1, 1), "YAML reads this as a comment")  # color=#fff would become null
    if document.problems:
        _, _, problem = min(document.problems)
        raise UsageError(f"Cannot read {text!r}: {problem}.", hint=_quoting_hint("-k"))
    return document.root.value


def parse_pairs(pairs: Sequence[str], flag: str = "--kwarg") -> dict[str, Any]:
    """The key=value pairs of a repeatable flag, as a dict.

    Raises:
        UsageError: a pair has no "=" or no key, a key is repeated, or a value is not valid YAML.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"{flag} must be key=value, not {pair!r}.", hint=f"For example: {flag} width=64")
        if key in values:
            raise UsageError(f"{flag} sets {key!r} twice.", hint="Remove one of them.")
        try:
            values[key] = parse_value(text)
        except UsageError as error:
            raise UsageError(f"{flag} {key}: {error.message}", hint=_quoting_hint(flag)) from None
    return values


def _quoting_hint(flag: str) -> str:
    return f"""Quote text that has a special meaning in YAML, for example: {flag} 'glob="*.csv"'"""


# Validation against the declared settings


def _read_text(path: Path) -> str:
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


def _check_recipe(path: Path, document: Document) -> Recipe:
    root = document.root
    top = _check_settings(document, root, _top_fields(), SessionSettings)
    if not root.broken and not isinstance(root.value, dict):
        problem = "the recipe is empty" if root.value is None else "the recipe must be a mapping"
        document.add_problem(root.position, f"{problem}; start with 'version: {VERSION}'")
    elif not root.broken and "version" not in top:
        document.add_problem(root.position, f"version is missing; start with 'version: {VERSION}'")
    elif top.get("version") not in (VERSION, None):
        _, node = root.entries["version"]
        document.add_problem(node.position, f"version must be {VERSION}, not {node.value}")
    if top.get("target") and top.get("command"):
        document.add_problem(root.entries["command"][0].position, "a recipe has a target or a command, not both")
    return Recipe(
        path=path,
        target=_from_folder(top.get("target"), path.absolute().parent),
        command=tuple(map(str, top["command"])) if top.get("command") else None,
        kwargs=top.get("kwargs") or {},
        common={name: top[name] for name in COMMON if name in top},
        sections={
            name: _check_settings(document, root.entries[name][1], fields_of(settings), settings)
            for name, settings in COMMANDS.items()
            if name in top
        },
    )


def _top_fields() -> list[Field]:
    """The keys of the top level, declared like settings so that the same checks apply."""
    top = [Field("version", int, False, None, Option("")), Field("target", str, False, None, Option(""))]
    top.append(Field("command", tuple, True, None, Option("", item=_check_word)))
    sections = [Field(name, dict, True, None, Option("")) for name in ("kwargs", *COMMANDS)]
    return [*top, *(f for f in fields_of(SessionSettings) if f.name in COMMON), *sections]


def _check_word(value: Any) -> Any:
    """A word of a command.

    Raises:
        UsageError: it is not a text or a number.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UsageError(f"a word of a command must be text or a number, not {value!r}")
    return value


def _check_settings(
    document: Document, node: Node, fields: Iterable[Field], settings: type[Settings]
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


def _check_value(document: Document, node: Node, setting: Field) -> Any:
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
    if setting.type is dict and setting.name not in COMMANDS:  # keys of a section are checked as settings
        for key, (key_node, _) in node.entries.items():
            if not isinstance(key, str):
                document.add_problem(key_node.position, f"keys of {setting.name} must be text, not {key!r}")
    return value


def _check_items(document: Document, node: Node, check: Callable[[Any], Any]) -> bool:
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
