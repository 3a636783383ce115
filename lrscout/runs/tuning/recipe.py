"""The recipe that a tuning writes: the target with the answers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrscout.errors import UsageError
from lrscout.results import CommandTarget, Target

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
    common: Mapping[str, Any],
    horizon: int | None,
    lr: float | None,
    schedule: str | None,
    folder: Path,
) -> str:
    """A recipe in `folder`; `batch` is the argument of the target that takes the batch size, with it, or empty."""
    lines = [HEAD, "version: 1"]
    if isinstance(target, CommandTarget):
        lines.append(f"command: {_yaml(list(target.command))}")
    else:
        lines.append(f"target: {_yaml(_from(target.path or '', folder))}")
        kwargs = {**target.kwargs, **batch}
        lines += [f"kwargs: {_yaml(kwargs)}"] if kwargs else []
    lines += [f"{name}: {_yaml(value)}" for name, value in common.items()]
    if horizon is not None:
        lines.append(f"find_lr: {_yaml({'horizon': horizon})}")
    if lr is not None:
        lr = float(f"{lr:.4g}")
        lines.append(f"compare_schedulers: {_yaml({'lr': lr})}")
        lines.append(f"run: {_yaml({'lr': lr, **({'schedule': schedule} if schedule is not None else {})})}")
    return "\n".join(lines) + "\n"


def _from(path: str, folder: Path) -> str:
    """A target as a recipe in this folder names it: a file relative to it, a module as it is."""
    file, colon, attributes = path.rpartition(":")
    return f"{os.path.relpath(os.path.expanduser(file), folder)}{colon}{attributes}" if file.endswith(".py") else path


def _yaml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # which YAML reads as it is
