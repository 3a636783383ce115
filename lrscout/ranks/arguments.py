"""The command line of the training program: how it is written, and how it is read."""

from __future__ import annotations

import argparse
import json
import os
import reprlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrscout.errors import UsageError
from lrscout.results import PLACEHOLDERS, CommandTarget, Target, TargetOnRanks
from lrscout.settings import (
    Field,
    FindBatchSizeSettings,
    RanksSettings,
    SessionSettings,
    Settings,
    check_kind,
    fields_of,
    flag_words,
    make_settings,
)

DEFAULT_STRATEGY = "ddp"
BATCH_ARGUMENT = "batch_size"
STEP = tuple(field for field in fields_of(SessionSettings) if field.name in vars(SessionSettings)["__annotations__"])
"""How a step is made: what the program needs of the settings."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the program is to train, and how."""

    target: Target
    strategy: str
    nproc: int | None  # the ranks to start; None: this is one
    batch_size: int | None  # on each rank; None: the target's own
    batch_argument: str
    settings: SessionSettings


def on_ranks(target: Target | CommandTarget, settings: Settings) -> Target | CommandTarget:
    """The target as a command that trains it on several ranks, where the settings ask for them.

    Raises:
        UsageError: the target has no dotted path, or a setting has no meaning for what is trained.
    """
    if isinstance(target, CommandTarget):
        check_kind(settings, "command")
        return target
    if not isinstance(settings, RanksSettings) or (settings.nproc is None and settings.strategy is None):
        check_kind(settings, "target")
        return target
    if settings.nproc is None:
        raise UsageError(
            f"--strategy {settings.strategy} needs the number of ranks.",
            hint=f"For example --nproc 2 --strategy {settings.strategy}, or start lrscout with torchrun.",
        )
    if target.path is None:
        raise UsageError(
            "Ranks are processes of their own, which cannot use live objects.",
            hint="Pass a dotted path, or a function at the top level of a module.",
        )
    known = {"batch_arg", *(field.name for field in STEP), *vars(RanksSettings)["__annotations__"]}
    defaults = {field.name: field.default for field in fields_of(type(settings)) if field.name in known}
    check_kind(replace(settings, **defaults), "ranks")
    command = (sys.executable, "-m", str(__package__), *words(target, settings), "--nproc", str(settings.nproc))
    return TargetOnRanks(command, os.getcwd(), target=target)


def words(target: Target, settings: RanksSettings) -> tuple[str, ...]:
    """The program's arguments."""
    found = [str(target.path), "--strategy", settings.strategy or DEFAULT_STRATEGY, "--seed", "{seed}"]
    if target.kwargs:
        found += ["--kwargs", _json(target.kwargs)]
    if target.app_dir is not None:
        found += ["--app-dir", target.app_dir]
    if isinstance(settings, FindBatchSizeSettings):
        found += ["--batch-size", "{batch_size}", "--batch-argument", settings.batch_arg]
    for field in STEP:
        value = getattr(settings, field.name)
        if value != field.default and field.name != "seed":
            found += flag_words(field, value)
    return tuple(found)


def read(argv: Sequence[str]) -> Arguments:
    """What these arguments ask for.

    Raises:
        UsageError: a setting is out of its bounds.
    """
    parser = argparse.ArgumentParser(f"python -m {__package__}", description=__doc__, allow_abbrev=False)
    parser.add_argument("target")
    parser.add_argument("--strategy", choices=("ddp", "fsdp"), default=DEFAULT_STRATEGY)
    parser.add_argument("--nproc", type=int, metavar="N", help="Start so many ranks; else this is one of torchrun's.")
    parser.add_argument("--kwargs", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--app-dir", default=".", metavar="DIR")
    parser.add_argument("--batch-size", type=int, metavar="N")
    parser.add_argument("--batch-argument", default=BATCH_ARGUMENT, metavar="NAME")
    for field in STEP:
        parser.add_argument(field.flag, dest=field.name, help=field.option.help, **_kind_of(field))
    given = parser.parse_args(argv)
    values = {field.name: value for field in STEP if (value := getattr(given, field.name)) is not None}
    values["optimizer_arg"] = {key: json.loads(text) for key, _, text in values.get("optimizer_arg", ())}
    return Arguments(
        Target(given.target, given.kwargs, given.app_dir),
        given.strategy,
        given.nproc,
        given.batch_size,
        given.batch_argument,
        make_settings(SessionSettings, values),
    )


def _kind_of(field: Field) -> dict[str, Any]:
    if field.type is bool:
        return {"action": argparse.BooleanOptionalAction}
    if field.type is dict:
        return {"action": "append", "metavar": "KEY=JSON", "type": lambda text: text.partition("=")}
    return {"type": field.type, "metavar": field.name.upper()}


def _json(kwargs: Mapping[str, Any]) -> str:
    """The target's arguments as JSON, in which nothing is taken for a placeholder.

    Raises:
        UsageError: one is not the same afterwards.
    """
    for name, value in kwargs.items():
        problem = _altered(value)
        if problem is not None:
            raise UsageError(
                f"The target's argument {name!r} cannot be passed to several ranks, which get it as JSON: {problem}.",
                hint="Pass text, numbers, lists, or mappings whose keys are text, and convert them in the target.",
            )
    text = json.dumps(kwargs, default=_plain)
    for placeholder in PLACEHOLDERS:
        text = text.replace(f"{{{placeholder}}}", f"\\u007b{placeholder}}}")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"it has no {type(value).__name__}")


def _altered(value: Any) -> str | None:
    """What JSON does to a value; None if it is the same afterwards."""
    try:
        back = json.loads(json.dumps(value, default=_plain))
    except (TypeError, ValueError) as error:
        return str(error)
    same = back == value or repr(back) == repr(value)  # repr: NaN
    return None if same else f"{reprlib.repr(value)} would be {reprlib.repr(back)}"
