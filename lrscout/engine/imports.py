"""The user's code while it is imported or called: it does not see lrscout's arguments, and an import does not train."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from lrscout.errors import TargetError
from lrscout.results import Target


@contextmanager
def own_arguments(target: Target) -> Iterator[None]:
    """Have `sys.argv` name the target's file or module, and no arguments: its argparse must not read those of lrscout.

    For a target that is imported, not for a live object: that one belongs to the program that calls lrscout.
    """
    before = sys.argv
    sys.argv = [(target.path or "").rpartition(":")[0]]
    try:
        yield
    finally:
        sys.argv = before


class TrainedError(BaseException):
    """A module that is being imported was about to take an optimizer step; `except Exception` does not catch it."""

    def __init__(self, file: str, line: int, optimizer: str) -> None:
        super().__init__(f"line {line} of {file} takes a step of {optimizer}")


LIBRARIES = ("plotext", "rich", "typer", "yaml")  # of lrscout's, which torch does without


@contextmanager
def libraries_set_aside(folder: str) -> Iterator[None]:
    """Let imports find a rich.py in the user's folder, although lrscout has imported another rich.

    Raises:
        TargetError: one was found; lrscout goes on with its own, and the user's code cannot have the name as well.
    """
    shadowed = [
        name
        for name in LIBRARIES
        if name in sys.modules and any(os.path.isfile(f"{folder}/{name}{end}") for end in (".py", "/__init__.py"))
    ]
    ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in shadowed}
    for name in ours:
        del sys.modules[name]
    try:
        yield
    finally:
        theirs = [sys.modules[name] for name in shadowed if name in sys.modules]
        sys.modules.update(ours)
    if theirs:
        raise TargetError(
            f"The target imports {theirs[0].__file__}, which has the name of a library that lrscout needs.",
            hint="Rename it, or search in a program that imports it: lrscout find-lr -- python train.py",
        )


@contextmanager
def steps_forbidden() -> Iterator[None]:
    """Stop this thread at its first optimizer step.

    Raises:
        TrainedError: it came to one, even if the code that took it has caught the exception.
    """
    thread = threading.get_ident()  # another one may well train
    stopped: TrainedError | None = None

    def stop(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        nonlocal stopped
        if threading.get_ident() == thread:
            frame = _importing(sys._getframe())
            stopped = stopped or TrainedError(
                Path(frame.f_code.co_filename).name, frame.f_lineno, type(optimizer).__name__
            )
            raise stopped

    hook = register_optimizer_step_pre_hook(stop)
    try:
        yield
    finally:
        hook.remove()
        if stopped is not None:
            raise stopped


def _importing(frame: FrameType) -> FrameType:
    """The innermost frame at the top level of a module, which stands at the statement that trains."""
    while frame.f_code.co_name != "<module>" and frame.f_back is not None:
        frame = frame.f_back
    return frame
