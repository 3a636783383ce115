"""From what was passed to the Python API to a target and a workload."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lrscout.errors import TargetError, UsageError
from lrscout.ranks.arguments import on_ranks
from lrscout.results import CommandTarget, Target
from lrscout.settings import JobsSettings, RanksSettings, Settings, check_kind

if TYPE_CHECKING:
    from lrscout.engine.workload import Workload


def target_of(target: Any, kwargs: Mapping[str, Any] | None, app_dir: str | os.PathLike[str] | None) -> Target:
    """The target of a call in Python; its path is None for live objects.

    Raises:
        UsageError: kwargs or app_dir is of another type.
    """
    path = os.fspath(target) if isinstance(target, (str, os.PathLike)) else None
    if kwargs is not None and not (isinstance(kwargs, Mapping) and all(isinstance(key, str) for key in kwargs)):
        raise UsageError("kwargs must be a mapping whose keys are names.", hint='For example kwargs={"width": 64}.')
    if app_dir is not None and not isinstance(app_dir, (str, os.PathLike)):
        raise UsageError(f"app_dir must be the path of a folder, not {type(app_dir).__name__}.")
    return Target(path, dict(kwargs or {}), None if app_dir is None else os.fspath(app_dir))


def program_of(command: Sequence[str]) -> CommandTarget:
    """The training command of a call in Python, run in the current folder.

    Raises:
        UsageError: it is not a list of words.
    """
    is_list = isinstance(command, Sequence) and not isinstance(command, (str, bytes))
    if not is_list or not command or not all(isinstance(word, str) for word in command):
        raise UsageError("command must be a list of words.", hint='For example command=["python", "train.py"].')
    return CommandTarget(tuple(command), os.getcwd())


def command_target(
    command: Sequence[str] | None,
    settings: Settings,
    target: Any,
    parts: Mapping[str, Any],
    kwargs: Mapping[str, Any] | None,
    app_dir: str | os.PathLike[str] | None,
) -> CommandTarget | None:
    """The training command of a call in Python, that of a target on several ranks too; None if there is none.

    Raises:
        UsageError: there are both, a setting is for the other kind of target, or the command is not a list of words.
    """
    if command is None:
        if not isinstance(settings, RanksSettings) or (settings.nproc is None and settings.strategy is None):
            check_kind(settings, "target")
            return None
        ranked = on_ranks(buildable_target(target, kwargs, app_dir, parts)[1], settings)
        assert isinstance(ranked, CommandTarget)
        return ranked
    if target is not None or parts or kwargs or app_dir is not None:
        raise UsageError("command cannot be passed with a target.", hint="A program has its own model and data.")
    check_kind(settings, "command")
    return program_of(command)


def parts_of(settings: Mapping[str, object], **parts: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parts passed beside a model, and the settings, to which the name of an optimizer belongs."""
    given = {name: part for name, part in parts.items() if part is not None}
    named = {"optimizer": given.pop("optimizer")} if isinstance(given.get("optimizer"), (str, int)) else {}
    return given, {**settings, **named}


def _live_workload(target: Any, where: Target, parts: Mapping[str, Any]) -> Workload:
    """The workload of live objects, or of a model with its other parts.

    Raises:
        TargetError: it does not give a workload.
    """
    from lrscout.engine.workload import Workload, make_workload

    if where.path is not None:
        raise TargetError(
            f"{', '.join(parts)} cannot be passed with a dotted path.", hint="Return them from the target."
        )
    if where.kwargs or where.app_dir is not None:
        raise TargetError(
            "kwargs and app_dir need a dotted path or a function.", hint="Leave them out for live objects."
        )
    if hasattr(target, "named_parameters") and "train_loader" in parts:
        return make_workload(Workload(model=target, **parts))
    if parts:
        raise TargetError(
            f"{', '.join(parts)} can only be passed with a model and its train_loader.",
            hint="Put everything into a Workload or a dict.",
        )
    return make_workload(target)


def buildable_target(
    target: Any,
    kwargs: Mapping[str, Any] | None,
    app_dir: str | os.PathLike[str] | None,
    parts: Mapping[str, Any],
) -> tuple[Any, Target]:
    """What builds a workload, more than once if need be, and its target.

    The first is a function that builds a workload, a Workload made of live objects, or None for a dotted path. The
    target of a function that can be imported by its name has its path, by which other processes can build it.

    Raises:
        TargetError: it does not give a workload.
    """
    where = target_of(target, kwargs, app_dir)
    if where.path is not None and not parts:
        return None, where
    if _builds(target) and not parts:
        return target, Target(importable_path(target), where.kwargs, where.app_dir)
    return _live_workload(target, where, parts), where


def _builds(target: Any) -> bool:
    """Whether a target is called to build a workload; a model is callable too, but with a batch."""
    is_live = hasattr(target, "named_parameters") or hasattr(target, "train_loader")
    return inspect.isclass(target) or (callable(target) and not is_live)


def importable_path(found: Any) -> str | None:
    """The dotted path of a function or class at the top level of a module or a script; None of any other object."""
    name = getattr(found, "__qualname__", None)
    module = sys.modules.get(getattr(found, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if name is None or file is None or getattr(module, name, None) is not found:
        return None
    return f"{file if found.__module__ == '__main__' else found.__module__}:{name}"


def builder(found: Any, target: Target) -> Callable[[int], Any]:
    """What builds the workload from a seed; live objects are reused, since a session restores them."""

    def build(seed: int) -> Any:
        from lrscout.engine.randomness import seed_everything
        from lrscout.engine.workload import Workload, make_workload
        from lrscout.runs.targets import open_workload

        if found is None:
            return open_workload(target, seed)
        if isinstance(found, Workload):
            return found
        seed_everything(seed)
        return make_workload(found(**target.kwargs))

    return build


def check_importable(settings: JobsSettings, given: Any, path: str | None) -> None:
    """See that other processes can import what was given; `path` is how, or None.

    Raises:
        UsageError: they cannot.
    """
    if given is not None and path is None:
        elsewhere = "engine='ray'" if settings.engine == "ray" else f"jobs={settings.jobs}"
        raise UsageError(
            f"{elsewhere} runs in other processes, which cannot import {name_of(given)!r}.",
            hint="Pass a dotted path, or a function at the top level of a module.",
        )


def name_of(value: Any) -> str:
    """What a message calls an object."""
    return str(getattr(value, "__qualname__", type(value).__name__))
