"""The recipe that a tuning writes: the target with the answers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrscout.errors import UsageError
from lrscout.results import CommandTarget, Target
from lrscout.schedules import parse_schedule
from lrscout.settings import COMMON

HEAD = "# Written by lrscout tune: lrscout find-lr --recipe FILE and the other commands go on from here."


def check_place(target: Target | CommandTarget, place: Path) -> None:
    """See that a recipe at this place can name the target.

    Raises:
        UsageError: it cannot.
    """
    if isinstance(target, CommandTarget) and place.absolute().parent != Path(target.cwd).absolute():
        raise UsageError(
            f"A recipe's command runs in the recipe's folder, {place.absolute().parent}, and this one in {target.cwd}.",
            hint=f"Write it there, for example -o {place.name}",
        )


def recipe_text(
    target: Target | CommandTarget,
    batch: Mapping[str, int],
    step: Mapping[str, Any],
    horizon: int | None,
    lr: float | None,
    schedule: str | None,
    folder: Path,
) -> str:
    """A recipe in `folder`.

    `batch` is the argument of the target that takes the batch size, with it, or empty; `step` the settings of a
    training step, without which the answers are not right.
    """
    lines = [HEAD, "version: 1"]
    if isinstance(target, CommandTarget):
        lines.append(f"command: {_yaml(list(target.command))}")
    else:
        lines.append(f"target: {_yaml(_from(target, folder))}")
        kwargs = {**target.kwargs, **batch}
        lines += [f"kwargs: {_yaml(kwargs)}"] if kwargs else []
    lines += [f"{name}: {_yaml(value)}" for name, value in step.items() if name in COMMON]
    own = {name: value for name, value in step.items() if name not in COMMON}
    given = None if lr is None else float(f"{lr:.4g}")
    sections: dict[str, dict[str, Any]] = {
        "find_batch_size": own,
        "find_lr": {**own, **({} if horizon is None else {"horizon": horizon})},
        "compare_schedulers": {**own, **({} if given is None else {"lr": given})},
    }
    if given is not None:
        # a program averages its weights itself
        plain = schedule is not None and parse_schedule(schedule).averaging is None
        sections["run"] = {"lr": given, **({"schedule": schedule} if plain else {})}
    lines += [f"{name}: {_yaml(section)}" for name, section in sections.items() if section]
    return "\n".join(lines) + "\n"


def _from(target: Target, folder: Path) -> str:
    """A target as a recipe in this folder names it: a file relative to it; a module by its name where it is found."""
    module, colon, attributes = (target.path or "").rpartition(":")
    file = Path(module).expanduser() if module.endswith(".py") else None
    if file is None and target.app_dir not in (None, os.curdir):  # a recipe has no folder to import from
        place = Path(target.app_dir or os.curdir, *module.split("."))
        file = next((each for each in (place.with_suffix(".py"), place / "__init__.py") if each.is_file()), None)
    return f"{module if file is None else os.path.relpath(file, folder)}{colon}{attributes}"


def _yaml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # which YAML reads as it is
