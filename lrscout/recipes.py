"""YAML recipes and key=value pairs -> typed settings, every mistake with file:line:column."""

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
)
from lrscout.yaml_nodes import Document, Node

VERSION = 1  # of the recipe's schema
COMMON = ("seed", "device", "precision")  # settings that may stand at the top, for every command


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe file, checked against the schema."""

    path: Path
    target: str | None  # a file target as seen from the current folder
    kwargs: Mapping[str, Any]
    common: Mapping[str, Any]  # seed, device, precision as given at the top level
    sections: Mapping[str, Mapping[str, Any]]  # of the commands it names: setting -> value

    def settings_for(self, command: str) -> dict[str, Any]:
        """The common settings, overlaid by those of the command's section."""
        return {**self.common, **self.sections.get(command, {})}


def load_recipe(path: Path) -> Recipe:
    """Read a recipe and check it whole.

    Raises:
        RecipeError: it cannot be read, or it has mistakes; all of them are listed, in the order of the file.
    """
    document = Document(_read_text(path))
    recipe = _check_recipe(path, document)
    if document.problems:
        lines = [f"{path}:{line}:{column}: {message}" for line, column, message in sorted(document.problems)]
        raise RecipeError("\n".join(lines if len(lines) == 1 else [f"{len(lines)} mistakes in {path}:", *lines]))
    return recipe


def parse_value(text: str) -> Any:
    """The value that `text` would have in a recipe.

    Raises:
        UsageError: it is not valid YAML.
    """
    document = Document(text)
    if text.lstrip().startswith("#"):
        document.complain((1, 1), "YAML takes it for a comment")  # color=#fff would become null
    if document.problems:
        _, _, problem = min(document.problems)
        raise UsageError(f"Cannot read {text!r}: {problem}.", hint=_quoting_hint("-k"))
    return document.root.value


def parse_pairs(pairs: Sequence[str], flag: str = "--kwarg") -> dict[str, Any]:
    """The key=value pairs of a repeatable flag as a dict.

    Raises:
        UsageError: a pair without "=" or key, a key given twice, a value that is not valid YAML.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"{flag} {pair!r} is not key=value.", hint=f"For example {flag} width=64.")
        if key in values:
            raise UsageError(f"{flag} gives {key!r} twice.", hint="Keep one of them.")
        try:
            values[key] = parse_value(text)
        except UsageError as error:
            raise UsageError(f"{flag} {key}: {error.message}", hint=_quoting_hint(flag)) from None
    return values


def _quoting_hint(flag: str) -> str:
    return f"""Quote text that YAML would read otherwise, e.g. {flag} 'glob="*.csv"'."""


# The schema: keys and values as the settings declare them


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{path}:{line}: this is not UTF-8 text.", hint="Save the recipe as UTF-8.") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(f"Cannot read the recipe {path}: {reason}.", hint="Name a YAML file.") from None


def _check_recipe(path: Path, document: Document) -> Recipe:
    root = document.root
    top = _check_settings(document, root, _top_fields(), SessionSettings)
    if not root.broken and not isinstance(root.value, dict):
        what = "the recipe is empty" if root.value is None else "a recipe is a mapping, key: value"
        document.complain(root.position, f"{what}; begin with 'version: {VERSION}'")
    elif not root.broken and "version" not in top:
        document.complain(root.position, f"version is missing; begin with 'version: {VERSION}'")
    elif top.get("version") not in (VERSION, None):
        _, node = root.entries["version"]
        document.complain(node.position, f"version must be {VERSION}, not {node.value}")
    return Recipe(
        path=path,
        target=_from_folder(top.get("target"), path.absolute().parent),
        kwargs=top.get("kwargs") or {},
        common={name: top[name] for name in COMMON if name in top},
        sections={
            name: _check_settings(document, root.entries[name][1], fields_of(settings), settings)
            for name, settings in COMMANDS.items()
            if name in top
        },
    )


def _top_fields() -> list[Field]:
    """The top level's keys in the form of settings, so that the same checks serve both."""
    top = [Field("version", int, False, None, Option("")), Field("target", str, False, None, Option(""))]
    sections = [Field(name, dict, True, None, Option("")) for name in ("kwargs", *COMMANDS)]
    return [*top, *(f for f in fields_of(SessionSettings) if f.name in COMMON), *sections]


def _check_settings(
    document: Document, node: Node, fields: Iterable[Field], settings: type[Settings]
) -> dict[str, Any]:
    """A mapping's values by setting; None stands for a value that was complained of."""
    known = {f.name: f for f in fields}
    values: dict[str, Any] = {}
    for key, (key_node, value_node) in node.entries.items():
        if not isinstance(key, str):
            document.complain(key_node.position, f"a key must be text, not {key!r}")
            continue
        name, negated = positive_name(key, settings)
        if name not in known:
            document.complain(key_node.position, f"unknown key {key!r}. {did_you_mean(key, list(known))}")
        elif name in values:
            document.complain(key_node.position, f"{key!r} sets {name!r} again")
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
        document.complain(node.position, error.message.removesuffix("."))
        return None
    problem = bounds_problem(setting, value)
    if problem is not None:
        meant = perhaps(str(value), setting.option.choices)
        document.complain(node.position, ". ".join(filter(None, [f"{setting.name} {value!r} {problem}", meant])))
    if setting.type is dict and setting.name not in COMMANDS:  # a section's keys are checked as settings
        for key, (key_node, _) in node.entries.items():
            if not isinstance(key, str):
                document.complain(key_node.position, f"a key of {setting.name} must be text, not {key!r}")
    return value


def _check_items(document: Document, node: Node, check: Callable[[Any], Any]) -> bool:
    """Whether an item of the list is broken; each is complained of where it stands."""
    broken = [item for item in node.items if item.broken]
    for item in node.items:
        try:
            if not item.broken:
                check(item.value)
        except UsageError as error:
            document.complain(item.position, str(error).replace("\n", " ").removesuffix("."))
            broken.append(item)
    return bool(broken)


def _from_folder(target: str | None, folder: Path) -> str | None:
    """A file target as seen from the current folder, the recipe's being where it starts; a module target as it is."""
    place, _, attributes = (target or "").rpartition(":")
    if not place.endswith(".py"):
        return target
    path = os.path.abspath(folder / os.path.expanduser(place))
    below = os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path
    return f"{below}:{attributes}"
