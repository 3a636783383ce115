"""`lrscout run`: start a training command, train it under a schedule to its end, save, show, pass its exit code on."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from lrscout.commands.invocation import Invocation
from lrscout.commands.options import flag_parameter, takes_settings
from lrscout.commands.run import Run, past_typer, running
from lrscout.errors import UsageError
from lrscout.records import consistent, load
from lrscout.report.output import Progress
from lrscout.results import CommandTarget, TrainRunRecord
from lrscout.runs.training.observer import TrainingObserver
from lrscout.runs.training.program import train_program
from lrscout.runs.training.recorded import recorded_command, warnings_about, with_recorded
from lrscout.settings import RunSettings

LAST_LINES = 15  # of a program that fails under --quiet, where nothing of it is shown
EXAMPLE = "For example lrscout run --lr 2e-3 --steps 20000 -- python train.py."


def _own_flags(command: str) -> list[inspect.Parameter]:
    help = (
        "Record of a find-lr, a compare-schedulers or a run: its rate, schedule, steps and command, where nothing else"
        " says."
    )
    return [flag_parameter(command, "record", Path | None, None, "--from", metavar="FILE", help=help, group="Training")]


def _recorded_target(values: Mapping[str, Any]) -> CommandTarget:
    """The command in the record of --from.

    Raises:
        UsageError: there is none.
    """
    if values["record"] is None:
        raise UsageError("No training command given.", hint=EXAMPLE)
    record, name = load(values["record"]), str(values["record"])
    with consistent(name):
        return recorded_command(record, name)


@takes_settings("run", RunSettings, _own_flags, _recorded_target)
def run(invocation: Invocation[RunSettings]) -> None:
    """Train a program as it stands, for real: its rate follows a schedule, and its exit code is passed on."""
    target, settings, path = invocation.target, invocation.settings, invocation.more["record"]
    if not isinstance(target, CommandTarget):
        raise UsageError(f"run trains a program, and {target.path} is a function or a class.", hint=EXAMPLE)
    warnings: list[str] = []
    if path is not None:
        record = load(path)
        with consistent(str(path)):
            settings = with_recorded(settings, record, str(path))
            warnings = warnings_about(settings, record)
    with running("run", invocation) as life:
        with past_typer(), life.output.progress(settings.steps, "run") as progress:
            progress.phase("starting the command")
            observer = _Observer(life, progress)
            unseen: deque[str] = deque(maxlen=LAST_LINES)
            on_output = unseen.append if invocation.mode == "quiet" else life.output.relay
            finished = train_program(target, settings, observer, on_output, warnings=warnings)
        life.conclude(finished)
        if finished.status == "failed" and unseen:
            life.output.warn("\n".join(["The program's last lines:", *unseen]))
        raise typer.Exit(_exit_code(finished, life))


def _exit_code(record: TrainRunRecord, life: Run) -> int:
    """That of the program; after Ctrl-C, that of a command that was interrupted."""
    program = record.result.exit_code if record.result is not None else None
    return life.exit_code(record.status) if program is None or record.status == "interrupted" else program


class _Observer(TrainingObserver):
    """Shows every step on the progress line, and keeps the record as it goes."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self._run, self._progress = run, progress

    def say(self, text: str) -> None:
        self._run.output.note(text)

    def stepped(self, step: int, lr: float, loss: float, so_far: Callable[[], TrainRunRecord]) -> None:
        self._progress.update(step, lr, loss)
        self._run.keep(so_far)
