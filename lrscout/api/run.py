"""run: the Python API of run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from lrscout.api.answers import Answer, page
from lrscout.api.keywords import RunKeywords
from lrscout.api.targets import program_of
from lrscout.errors import UsageError
from lrscout.records import consistent, load
from lrscout.report.output import Output
from lrscout.report.run import headline
from lrscout.report.run_plot import plot_training
from lrscout.results import RunRecord, TrainingPoint, TrainRunResult
from lrscout.runs.training.program import train_program
from lrscout.runs.training.recorded import recorded_command, warnings_about, with_recorded
from lrscout.settings import RunSettings, make_settings


@dataclass(frozen=True, slots=True, repr=False)
class RunResult(Answer[TrainRunResult]):
    """The answer of `run`."""

    @property
    def exit_code(self) -> int | None:
        """The exit code of the program, 128 + n for signal n."""
        return self.result.exit_code

    @property
    def points(self) -> tuple[TrainingPoint, ...]:
        """The training loss and the rate over the steps, at most some thousands."""
        return self.result.points

    @property
    def final_loss(self) -> float:
        """The mean training loss over the last 5% of the steps."""
        return self.result.final_loss

    def plot(self, width: int = 100, height: int | None = None, *, color: bool = False) -> str:
        """The loss and the rate as text plots, `width` columns wide."""
        return plot_training(self.result, page(width, color), height)

    def __str__(self) -> str:
        return headline(self.record)


def run(
    command: Sequence[str] | None = None,
    *,
    record: Answer[Any] | RunRecord[Any] | str | os.PathLike[str] | None = None,
    **settings: Unpack[RunKeywords],
) -> RunResult:
    """Train a program for real, under a schedule, and wait until it ends by itself.

    `record` is the answer of `find_lr`, `compare_schedulers` or `run`, its record, or a file with one: what neither
    `command` nor `settings` say comes from there. The program runs in the current folder, or in that of the recorded
    command; what it prints goes to stderr. `settings` are the options of `lrscout run` in snake case. No file is
    written.

    A program that fails in the middle gives a result whose `status` is `failed`.

    Raises:
        UsageError: a setting is unknown, out of bounds or missing.
        CommandFailedError: the program failed before its first optimizer step.
        KeyboardInterrupt: Ctrl-C, after the program has ended.
    """
    made = make_settings(RunSettings, settings)
    warnings: list[str] = []
    target = None if command is None else program_of(command)
    if record is not None:
        found, name = _record_of(record)
        with consistent(name):
            target = target or recorded_command(found, name)
            made = with_recorded(made, found, name)
            warnings = warnings_about(made, found)
    if target is None:
        raise UsageError("No training command given.", hint='For example run(["python", "train.py"], lr=2e-3, ...).')
    return RunResult.of(train_program(target, made, None, Output(None, sys.stderr).relay, warnings=warnings))


def _record_of(given: Answer[Any] | RunRecord[Any] | str | os.PathLike[str]) -> tuple[RunRecord[Any], str]:
    """A record, and what to call it.

    Raises:
        UsageError: it is of another type, or a file that cannot be read.
    """
    if isinstance(given, Answer):
        return given.record, "the record"
    if isinstance(given, RunRecord):
        return given, "the record"
    if not isinstance(given, (str, os.PathLike)):
        raise UsageError(
            f"record must be an answer, its record or the path of a file, not {type(given).__name__}.",
            hint='For example record="lr.json".',
        )
    return load(Path(given)), os.fspath(given)
