"""From what the user points at, on the command line or in Python, to a workload."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lrscout.errors import TargetError
from lrscout.results import Target

if TYPE_CHECKING:
    from lrscout.engine.workload import Workload


def target_of(target: Any, kwargs: Mapping[str, Any] | None, app_dir: str | os.PathLike[str] | None) -> Target:
    """The target of a call in Python: its path is None where live objects were handed over."""
    path = os.fspath(target) if isinstance(target, (str, os.PathLike)) else None
    return Target(path, dict(kwargs or {}), None if app_dir is None else os.fspath(app_dir))


def parts_of(settings: Mapping[str, Any], **parts: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parts that were given beside a target, and the settings: the name of an optimizer is one of these."""
    given = {name: part for name, part in parts.items() if part is not None}
    named = {"optimizer": given.pop("optimizer")} if isinstance(given.get("optimizer"), str) else {}
    return given, {**settings, **named}


def open_workload(target: Target, seed: int) -> Workload:
    """Load a dotted path with all random states seeded.

    Raises:
        TargetError: it cannot be loaded, or does not give a workload.
    """
    from lrscout.engine.randomness import seed_everything
    from lrscout.engine.target import load_target
    from lrscout.engine.workload import make_workload

    seed_everything(seed)
    return make_workload(load_target(target))


def describe_target(target: Target) -> dict[str, Any]:
    """A target as its record shows it."""
    return {"path": target.path, "kwargs": dict(target.kwargs), "app_dir": target.app_dir}


def workload_from(target: Any, where: Target, parts: Mapping[str, Any], seed: int) -> Workload:
    """What was handed over in Python as a workload: a dotted path, live objects, or a model with its other parts.

    Raises:
        TargetError: it does not give a workload.
    """
    from lrscout.engine.workload import Workload, make_workload

    if where.path is not None:
        if parts:
            raise TargetError(
                f"With a dotted path, {', '.join(parts)} cannot be given too.", hint="Let the target give them."
            )
        return open_workload(where, seed)
    if where.kwargs or where.app_dir is not None:
        raise TargetError(
            "kwargs and app_dir can only be given with a dotted path.", hint="Hand over objects that are built."
        )
    if hasattr(target, "named_parameters") and "train_loader" in parts:
        return make_workload(Workload(model=target, **parts))
    if parts:
        raise TargetError(
            f"{', '.join(parts)} can only be given beside a model with its train_loader.",
            hint="Put everything into a Workload or a dict.",
        )
    return make_workload(target)


def sizable_target(
    target: Any,
    kwargs: Mapping[str, Any] | None,
    app_dir: str | os.PathLike[str] | None,
    parts: Mapping[str, Any],
) -> tuple[Any, Target]:
    """What was handed over in Python for workloads of several batch sizes, and its target.

    A function that can be imported by its name becomes a dotted path, which processes of their own can build; then,
    and for a path, the first is None.

    Raises:
        TargetError: it does not give a workload.
    """
    where = target_of(target, kwargs, app_dir)
    if where.path is not None and not parts:
        return None, where
    if (inspect.isfunction(target) or inspect.isclass(target)) and not parts:
        path = _importable(target)
        return (target if path is None else None), Target(path, where.kwargs, where.app_dir)
    return workload_from(target, where, parts, seed=0), where


def _importable(found: Any) -> str | None:
    """The dotted path of a function or class at the top of a module or a script; None of any other."""
    name: str = found.__qualname__
    module = sys.modules.get(found.__module__)
    file = getattr(module, "__file__", None)
    if file is None or getattr(module, name, None) is not found:
        return None
    return f"{file if found.__module__ == '__main__' else found.__module__}:{name}"
