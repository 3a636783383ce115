"""What the shell completes: the values of options, and the targets and files that are there; without torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from lrscout.errors import LrscoutError
from lrscout.target_paths import defined_in

Completer = Callable[[str], list[str]]
"""From what was typed so far to what it may become."""


def among(names: Iterable[str]) -> Completer:
    """Complete to one of some names."""
    known = tuple(names)

    def complete(incomplete: str) -> list[str]:
        return [name for name in known if name.startswith(incomplete)]

    return complete


def _schedules(incomplete: str) -> list[str]:
    from lrscout.schedules import SCHEDULES, SUFFIX, TORCH, Averaging, parameters_of, schedule_parameters

    schedule, plus, _ = incomplete.partition("+")
    if plus:
        averaged = f"{schedule}{SUFFIX}"
        return among([averaged, *(f"{averaged}:{key}=" for key in parameters_of(Averaging))])(incomplete)
    name, colon, given = incomplete.partition(":")
    if not colon or name not in SCHEDULES:
        return among([*SCHEDULES, TORCH])(incomplete)
    done, comma, _ = given.rpartition(",")
    return among(f"{name}:{done}{comma}{key}=" for key in schedule_parameters(name))(incomplete)


def _optimizers(incomplete: str) -> list[str]:
    from lrscout.report.paste_optimizers import KNOWN

    return among(name.lower() for name in KNOWN)(incomplete)


def _targets(incomplete: str) -> list[str]:
    """The names of lrscout.yaml, and what the files of this folder define."""
    from lrscout.project import find_project

    try:
        project = find_project()
    except LrscoutError:  # a run will tell
        project = None
    path = incomplete.partition(":")[0]
    files = [path] if path.endswith(".py") else _files(path, (".py",))
    found = [f"{file}:{name}" for file in files if file.endswith(".py") for name in defined_in(file)]
    return among([*(project.targets if project is not None else ()), *found])(incomplete)


def _files(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    """Files with one of these endings, and the folders that may hold more, where the typed path leads."""
    folder, name = os.path.split(incomplete)
    try:
        entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
    except OSError:
        return []
    there = [e for e in entries if e.name.startswith(name) and (name.startswith(".") or not e.name.startswith("."))]
    return [
        os.path.join(folder, entry.name) + os.sep * entry.is_dir()
        for entry in there
        if entry.is_dir() or Path(entry.name).suffix in endings
    ]


def records(incomplete: str) -> list[str]:
    """Files, and the ids of the records in the cache folder."""
    from lrscout.history import cached_records, name_of

    try:
        ids = [name_of(path).id for path in cached_records()]
    except (LrscoutError, OSError):
        ids = []
    return [*_files(incomplete, (".json",)), *(among(ids)(incomplete) if incomplete else [])]


COMPLETERS: dict[str, Completer] = {
    "target": _targets,
    "recipe": partial(_files, endings=(".yaml", ".yml")),
    "record": records,
    "against": records,
    "schedules": _schedules,
    "schedule": _schedules,
    "baseline": _schedules,
    "optimizer": _optimizers,
    "device": among(("auto", "cpu", "cuda", "cuda:0", "mps", "xpu")),
    "jobs": among(("auto",)),
    "color": among(("auto", "always", "never")),
    "github": among(("auto", "off")),
    "gitlab": among(("auto", "off")),
}
"""By the name of a setting or a flag; a setting with choices needs none."""


def completer_of(name: str, choices: tuple[str, ...] = ()) -> Callable[[str], list[str]] | None:
    """How to complete a setting or a flag, as typer wants to have it; None: as files."""
    complete = among(choices) if choices else COMPLETERS.get(name)
    if complete is None:
        return None
    found = complete

    def typed(incomplete: str) -> list[str]:
        return found(incomplete)

    return typed
