"""One file a command: load, run, suggest, save, show. A command's file is imported when the command is called."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

TRAINING_COMMAND = "lrscout.training_command"  # where a context keeps what follows `--`
EPILOG = """Every option is also read from LRSCOUT_<OPTION>, and from LRSCOUT_<COMMAND>_<OPTION> for one command alone.
Flags win over the environment, the environment over a recipe."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as `lrscout --help` lists it; its own --help begins with the docstring of its function."""

    place: str  # module:function
    summary: str
    epilog: str | None = None

    def load(self) -> Callable[..., Any]:
        """Import its function."""
        module, _, function = self.place.partition(":")
        loaded: Callable[..., Any] = getattr(import_module(f"lrscout.commands.{module}"), function)
        return loaded


COMMANDS = {
    "tune": Command("tune:tune", "Find a batch size, a learning rate and a schedule, one after the other.", EPILOG),
    "init": Command("init:init", "Write a target and its settings to begin with."),
    "check": Command("check:check", "See whether a target is sound before anything is searched.", EPILOG),
    "find-lr": Command("find_lr:find_lr", "Suggest a learning rate from a short sweep.", EPILOG),
    "find-batch-size": Command(
        "find_batch_size:find_batch_size", "Find the largest batch size that fits and the fastest.", EPILOG
    ),
    "compare-schedulers": Command(
        "compare_schedulers:compare_schedulers", "Compare learning-rate schedules by short runs.", EPILOG
    ),
    "run": Command("training:run", "Train a program with a rate and a schedule, without an edit to it.", EPILOG),
    "schedules": Command("schedules:schedules", "List the learning-rate schedules and their parameters."),
    "preview": Command("schedules:preview", "Plot learning-rate schedules over the steps of a run."),
    "runs": Command("runs:runs", "List earlier runs."),
    "show": Command("show:show", "Show the record of an earlier run again, or several together."),
    "diff": Command("diff:diff", "Tell what changed between two runs."),
}


def variable_behind(ctx: Any, parameter: Any) -> str | None:
    """The environment variable that a parameter has its value from, or None."""
    source = ctx.get_parameter_source(parameter.name)
    if source is None or source.name != "ENVIRONMENT":
        return None
    return next((name for name in parameter.envvar or () if os.environ.get(name)), None)
