"""Writes the options and the record of every command into its page in docs/commands; `make docs` runs it.

They come from what declares them: the settings, the parameters of the command line, and the class of the result.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

import lrscout
from lrscout.cli import app
from lrscout.commands import COMMANDS
from lrscout.report.markdown import code, inline, markdown_table
from lrscout.results import RESULTS
from lrscout.settings import COMMANDS as SETTINGS
from lrscout.settings import (
    CommandSettings,
    EngineSettings,
    Field,
    LaunchSettings,
    RanksSettings,
    SessionSettings,
    Settings,
    fields_of,
)

PAGES = Path(__file__).parent / "commands"
BEGIN = "<!-- From here on, `make docs` writes this page. -->"
END = "<!-- Up to here. -->"

VALUES = {int: "whole number", float: "number", str: "text", dict: "KEY=VALUE"}
SHARED: dict[type, str] = {
    SessionSettings: "Settings of a training step",
    RanksSettings: "Settings of several ranks",
    CommandSettings: "Settings of a training command",
    LaunchSettings: "Settings of a training command",
    EngineSettings: "Where trainings take place",
}
ONLY = {
    "target": "Targets only.",
    "command": "Training commands only.",
    "ranks": "Training commands and several ranks only.",
}


def page_of(command: str) -> Path:
    """The file about a command."""
    return PAGES / f"{command}.md"


def rewritten(command: str, page: str) -> str:
    """A page with its generated part as it should be; what is around it stays."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = [before.rstrip("\n"), BEGIN, options(command), record(command), END, after.strip("\n")]
    return "\n\n".join(part for part in parts if part) + "\n"


def options(command: str) -> str:
    """The options of a command: its own settings, the more general ones, then what only the command line has."""
    group: Any = typer.main.get_command(app)
    parameters = [p for p in group.resolve_command(typer.Context(group), [command])[1].params if not p.hidden]
    section = command.replace("-", "_")
    settings = SETTINGS.get(section)
    if settings is None:
        return f"## Options\n\n{_table(parameters, {})}"
    known = {field.name: field for field in fields_of(settings)}
    tables: dict[str, list[Any]] = {title: [] for title in ("Settings", *SHARED.values(), "On the command line alone")}
    for parameter in parameters:
        tables[_title(parameter.name, settings)].append(parameter)
    python = " and arguments in Python" if section in lrscout.__all__ else ""
    lead = (
        f"The settings are also keys of the section `{section}` of a recipe{python}, with underscores for hyphens."
        f" `LRSCOUT_{section.upper()}_...` is for this command alone, and wins over `LRSCOUT_...`."
    )
    shown = [f"### {title}\n\n{_table(found, known)}" for title, found in tables.items() if found]
    return "\n\n".join(["## Options", lead, *shown])


def _title(name: str, settings: type[Settings]) -> str:
    """The table of an option, by the class that declares it for this command."""
    owner = next((c for c in settings.__mro__ if name in inspect.get_annotations(c)), None)
    return "On the command line alone" if owner is None else SHARED.get(owner, "Settings")


def record(command: str) -> str:
    """The keys of a command's result, as its class declares them."""
    if command not in RESULTS:
        return ""
    declared = inspect.getsource(RESULTS[command])
    found = re.findall(r"^    (\w+): (.+?)(?: = .+?)?(?:  # (.*))?$", declared, re.MULTILINE)
    rows = [(code(name), code(kind), _prose(comment)) for name, kind, comment in found]
    lead = "[The record](show.md#what-a-record-holds) has as its `result`:"
    return f"## Record\n\n{lead}\n\n{markdown_table(('key', 'type', 'meaning'), rows)}"


def _table(parameters: Sequence[Any], known: Mapping[str, Field]) -> str:
    head = ("option", "value", "default", "meaning", "variable")
    rows = [_row(parameter, known.get(parameter.name)) for parameter in parameters]
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]  # a column with something in it
    return markdown_table([head[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _row(parameter: Any, field: Field | None) -> tuple[str, ...]:
    names = [*parameter.opts, *parameter.secondary_opts]
    if not parameter.opts[0].startswith("-"):
        names = [parameter.metavar or parameter.name.upper()]
    only = None if field is None else field.option.only
    if only == "command" and field.option.ranks_too:
        only = "ranks"
    meaning = [parameter.help, ONLY.get(only or "", "")]
    return (
        ", ".join(code(name) for name in names),
        _value(parameter, field),
        _default(parameter),
        _prose(" ".join(filter(None, meaning))),
        ", ".join(map(code, (parameter.envvar or [])[-1:])),  # the one for all commands
    )


def _value(parameter: Any, field: Field | None) -> str:
    if getattr(parameter, "is_flag", False) or not parameter.opts[0].startswith("-"):
        return ""
    if parameter.metavar:
        return code(parameter.metavar)
    if field is None:
        kind, low, high = int, parameter.min, parameter.max
        limits = {"at least": low, "at most": high}
    else:
        kind, hints = field.type, field.option
        limits = {"at least": hints.at_least, "above": hints.above, "below": hints.below, "at most": hints.at_most}
    return ", ".join([VALUES[kind], *(f"{word} {_number(n)}" for word, n in limits.items() if n is not None)])


def _default(parameter: Any) -> str:
    value = parameter.default
    if isinstance(value, bool):
        pair = parameter.secondary_opts and [*parameter.secondary_opts, *parameter.opts]
        return code(pair[value]) if pair else ""
    return "" if value is None else code(_number(value) if isinstance(value, float) else value)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}".replace("e+0", "e").replace("e+", "e")


def _prose(text: str) -> str:
    """A text as Markdown: what stands in backticks stays code."""
    return "".join(code(part[1:-1]) if part[0] == "`" else _escaped(part) for part in re.findall("`[^`]+`|[^`]+", text))


def _escaped(text: str) -> str:
    return re.sub(r"\S(?:.*\S)?", lambda found: inline(found[0]), text)  # the blanks around it stay


def main() -> int:
    """Rewrite all pages; returns how many commands have none."""
    missing = [name for name in COMMANDS if not page_of(name).exists()]
    for name in COMMANDS:
        if name not in missing:
            page = page_of(name)
            page.write_text(rewritten(name, page.read_text(encoding="utf-8")), encoding="utf-8")
    for name in missing:
        print(f"{page_of(name)} is missing: write what {name} does, with examples, and run this again.")
    return len(missing)


if __name__ == "__main__":
    sys.exit(main())
