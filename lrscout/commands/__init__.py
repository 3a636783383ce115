"""One file a command: load, run, suggest, save, show. A command's file is imported when the command is called."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

TRAINING_COMMAND = "lrscout.training_command"  # where a context keeps what follows `--`
EPILOG = """Every option has an environment variable: LRSCOUT_STEPS=300 is --steps 300 for every command, and
LRSCOUT_FIND_LR_STEPS=300 for find-lr alone. Flags win over variables, and these over a recipe and lrscout.yaml."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as `lrscout --help` lists it; its own --help begins with the docstring of its function."""

    place: str  # module:function
    summary: str
    examples: tuple[str, ...] = ()
    epilog: str | None = None

    def load(self) -> Callable[..., Any]:
        """Import its function."""
        module, _, function = self.place.partition(":")
        loaded: Callable[..., Any] = getattr(import_module(f"lrscout.commands.{module}"), function)
        return loaded


COMMANDS = {
    "tune": Command(
        "tune:tune",
        "Find a batch size, a learning rate and a schedule, one after the other.",
        ("lrscout tune train.py:build --budget 15m -o tuned.yaml", "lrscout tune -- python train.py --bs {batch_size}"),
        EPILOG,
    ),
    "init": Command(
        "init:init",
        "Write a target and its settings to begin with.",
        ("lrscout init", "lrscout init experiment --github-workflow"),
    ),
    "check": Command(
        "check:check",
        "See whether a target is sound before anything is searched.",
        ("lrscout check train.py:build", "lrscout check mypkg.train:build -k width=64 --device cpu"),
        EPILOG,
    ),
    "find-lr": Command(
        "find_lr:find_lr",
        "Suggest a learning rate from a short sweep.",
        ("lrscout find-lr train.py:build --epochs 20", "lrscout find-lr --for constant -- python train.py"),
        EPILOG,
    ),
    "find-batch-size": Command(
        "find_batch_size:find_batch_size",
        "Find the largest batch size that fits and the fastest.",
        (
            "lrscout find-batch-size train.py:build --budget 11GiB --find-lr",
            "lrscout find-batch-size -- python train.py --bs {batch_size}",
        ),
        EPILOG,
    ),
    "compare-schedulers": Command(
        "compare_schedulers:compare_schedulers",
        "Compare learning-rate schedules by short runs.",
        (
            "lrscout compare-schedulers train.py:build -s cosine -s wsd:warmup=0.1 --jobs auto",
            "lrscout compare-schedulers --steps 500 -- python train.py --seed {seed}",
        ),
        EPILOG,
    ),
    "run": Command(
        "training:run",
        "Train a program with a rate and a schedule, without an edit to it.",
        (
            "lrscout run --lr 2e-3 -s cosine:warmup=0.05 --steps 20000 -- python train.py",
            "lrscout run --from run.json --steps 20000",
        ),
        EPILOG,
    ),
    "schedules": Command(
        "schedules:schedules",
        "List the learning-rate schedules and their parameters.",
        ("lrscout schedules", "lrscout schedules --json"),
    ),
    "preview": Command(
        "schedules:preview",
        "Plot learning-rate schedules over the steps of a run.",
        ("lrscout preview -s cosine -s wsd:decay=0.2", "lrscout preview -s torch:OneCycleLR:max_lr=1 --steps 500"),
    ),
    "runs": Command(
        "runs:runs",
        "List earlier runs.",
        ("lrscout runs", "lrscout runs --command find-lr --status failed -n 50"),
    ),
    "show": Command(
        "show:show",
        "Show the record of an earlier run again, or several together.",
        ("lrscout show", "lrscout show old.json new.json", "lrscout show 7f3a --export-html page.html"),
    ),
    "diff": Command(
        "diff:diff",
        "Tell what changed between two runs.",
        ("lrscout diff old.json new.json", "lrscout diff 7f3a"),
    ),
}


def variable_behind(ctx: Any, parameter: Any) -> str | None:
    """The environment variable that a parameter has its value from, or None."""
    source = ctx.get_parameter_source(parameter.name)
    if source is None or source.name != "ENVIRONMENT":
        return None
    return next((name for name in parameter.envvar or () if os.environ.get(name)), None)
