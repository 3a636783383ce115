"""`lrscout tune`: a batch size, a learning rate at it and a schedule, each found by its own command; one answer."""

from __future__ import annotations

import dataclasses
import inspect
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lrscout.commands.gate import Gate, gate_flags
from lrscout.commands.invocation import Invocation
from lrscout.commands.options import flag_parameter, takes_settings, without_variables
from lrscout.commands.run import Run, running
from lrscout.errors import LrscoutError, Terminated
from lrscout.files import write_text
from lrscout.formatting import format_lr
from lrscout.history import new_record_path
from lrscout.processes.parentage import die_with_parent
from lrscout.records import load
from lrscout.report.paste import rate_lines, schedule_lines
from lrscout.report.views import printed, view_of
from lrscout.results import CommandTarget, RunRecord, StageStatus, Status, TunedStage, TuneResult
from lrscout.runs.tuning.earlier import earlier_stages, loaded
from lrscout.runs.tuning.recipe import check_place, recipe_text
from lrscout.runs.tuning.stages import (
    COMMANDS_OF,
    Found,
    Given,
    found_size,
    seconds_for,
    stage_arguments,
    stage_key,
    step_settings,
    with_size,
)
from lrscout.settings import RanksSettings, TuneSettings, fields_of
from lrscout.settings.tune import STAGES

READ_HERE = ("resume", "against", "tolerance", *(f.flag for s in (TuneSettings, RanksSettings) for f in fields_of(s)))
"""Flags whose variables are not for the stages: they are handed on as flags, mean something else there, or nothing."""

RECIPES = (".yaml", ".yml")  # what -o names is a recipe then, and else the record
END_SECONDS = 5.0  # for a stage to end after a signal
INCONCLUSIVE = 4  # exit code


class StageError(LrscoutError):
    """A stage failed, and has told why."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__(
            f"lrscout {COMMANDS_OF[name]} ended with exit code {code}; see above.",
            hint=f"Mend what it says, or go on without it: --skip {name}",
        )
        self.exit_code = code if code > 0 else 1


def _own_flags(command: str) -> list[inspect.Parameter]:
    told = "Take over the stages that an earlier tuning of this target has finished, with the same settings."
    return [flag_parameter(command, "resume", bool, False, "--resume", help=told, group="Stages"), *gate_flags(command)]


@takes_settings("tune", TuneSettings, _own_flags)
def tune(invocation: Invocation[TuneSettings]) -> None:
    """Find a batch size, a learning rate at that size and a schedule, one after the other.

    Each stage is the search of its own command, which is shown, with its settings from --recipe or lrscout.yaml. -o
    FILE.yaml writes a recipe with the answers, -o FILE.json the record.
    """
    recipe = invocation.output if invocation.output is not None and invocation.output.suffix in RECIPES else None
    if recipe is not None:
        check_place(invocation.target, recipe)
        invocation = dataclasses.replace(invocation, output=None)
    gate = Gate("tune", invocation)
    with running("tune", invocation) as run:
        record = _Tuning(invocation, run, recipe.parent if recipe is not None else Path.cwd()).record()
        if recipe is not None and record.result is not None and record.status != "interrupted":
            write_text(recipe, record.result.recipe)
            run.own_files.append(recipe)
            run.output.note(f"Recipe: {os.path.relpath(recipe)}")
        run.finish(record, gate.checks(record))


class _Tuning:
    """The stages of a tuning, one after the other."""

    def __init__(self, invocation: Invocation[TuneSettings], run: Run, folder: Path) -> None:
        self._invocation, self._run, self._folder = invocation, run, folder
        self._settings, self._target = invocation.settings, invocation.target
        self._stages: list[TunedStage] = []
        self._found = Found()
        self._schedule: str | None = None
        self._lines: list[str] = []
        self._environment: Mapping[str, Any] = {}
        self._began, self._starting = time.monotonic(), 0.0
        given = invocation.given
        settings_file = given.get("recipe") or invocation.project
        self._earlier = {}
        if invocation.more["resume"]:
            self._earlier = earlier_stages(self._target, invocation.output, settings_file)
        self._given = Given(
            given.get("target") if not isinstance(self._target, CommandTarget) else None,
            self._target.command if isinstance(self._target, CommandTarget) else None,
            tuple(given.get("kwarg") or ()),
            str(given["recipe"].absolute()) if given.get("recipe") is not None else None,
            str(given["app_dir"]) if "app_dir" in given else None,
            frozenset(given),
        )

    def record(self) -> RunRecord[TuneResult]:
        """Go through the stages; Ctrl-C ends the one under way, and with it the tuning."""
        wanted = [name for name in STAGES if name not in self._settings.skip]
        status: Status = "ok"
        try:
            for number, name in enumerate(wanted, 1):
                if not self._can(name):
                    continue
                self._take(name, wanted, f"[{number}/{len(wanted)}] ")
                self._run.keep(lambda: self._so_far("interrupted"), at_once=True)
        except KeyboardInterrupt:
            status = "interrupted"
        if status == "ok" and self._found.lr is None and "lr" in wanted:
            status = "inconclusive"
        return self._so_far(status)

    def _can(self, name: str) -> bool:
        """Whether there is what a stage needs; tells of it where not."""
        command = self._given.command
        if name == "check" and command is not None:
            self._skip(name, "a training command cannot be looked into")
            return False
        if name == "batch-size" and command is not None and not CommandTarget(command, "").takes("batch_size"):
            self._skip(name, "the command has no {batch_size}, where a size could be put")
            return False
        if name == "schedule" and self._found.lr is None and "lr" not in self._settings.skip:
            self._skip(name, "there is no learning rate to start from")
            return False
        return True

    def _skip(self, name: str, why: str) -> None:
        self._stages.append(TunedStage(name, "skipped", None, why, 0.0, (), None))

    def _take(self, name: str, wanted: Sequence[str], count: str) -> None:
        seconds, budget = None, self._settings.budget_seconds
        if budget is not None:
            seconds = seconds_for(name, wanted, budget - (time.monotonic() - self._began), self._starting)
        arguments = stage_arguments(name, self._given, self._settings, self._found, seconds)
        asked = stage_key(name, self._given, self._settings, self._found)
        self._run.output.note(f"{count}lrscout {shlex.join(arguments)}")
        earlier = self._earlier.get(tuple(asked))
        if earlier is not None and earlier.record is not None and earlier.status == "ok":
            self._run.output.note(f"Taken over from {earlier.record}")
            self._stages.append(earlier)
            taken = load(Path(earlier.record))
            self._environment = taken.environment or self._environment
            self._take_in(name, taken)
            return
        path = new_record_path(COMMANDS_OF[name], self._target.label)
        if earlier is not None and earlier.record is not None and name == "schedule":
            path, arguments = Path(earlier.record), [arguments[0], "--resume", *arguments[1:]]
        began = time.monotonic()
        try:
            code = self._performed(arguments, path)
        finally:
            record = loaded(path)
            if record is not None:
                self._environment = record.environment or self._environment
                seconds = time.monotonic() - began
                self._stages.append(_stage(name, record, seconds, asked, path))
                if record.result is not None:
                    self._starting = max(self._starting, seconds - record.result.seconds)
        if record is None or code not in (0, INCONCLUSIVE):
            raise StageError(code, name)
        self._take_in(name, record)

    def _performed(self, arguments: Sequence[str], path: Path) -> int:
        """Run a stage in a process of its own: it begins with the memory of a new one, and its end is only its own."""
        at = arguments.index("--") if "--" in arguments else len(arguments)
        quiet = ["-q"] if self._invocation.mode == "quiet" else []
        words = [*arguments[:at], "-o", str(path), *quiet, *arguments[at:]]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lrscout", *words],
            cwd=self._target.cwd if isinstance(self._target, CommandTarget) else None,
            env=without_variables(os.environ, "tune", READ_HERE),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # progress and messages go to stderr
            text=True,
            errors="replace",
            preexec_fn=partial(die_with_parent, os.getpid()) if sys.platform == "linux" else None,
        )
        try:
            shown, _ = process.communicate()
        except KeyboardInterrupt as interrupt:
            process.send_signal(signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)
            try:
                process.communicate(timeout=END_SECONDS)  # it saves what it has
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            raise
        if process.returncode not in (0, INCONCLUSIVE) and shown.strip():
            self._run.output.note(shown.rstrip())
        return process.returncode

    def _take_in(self, name: str, record: RunRecord[Any]) -> None:
        """Learn what a stage has found."""
        result = record.result
        if name == "check":
            return
        if name == "batch-size":
            self._found = found_size(record, self._given.command)
            if result is not None and result.batch_size is not None and self._found.batch_size is None:
                stage = self._stages.pop()
                why = "the target takes no batch size, so what follows has its own"
                self._stages.append(dataclasses.replace(stage, detail=f"{stage.detail}; {why}"))
        elif name == "lr":
            self._found = dataclasses.replace(self._found, lr=result.suggestion.lr if result is not None else None)
            self._lines = rate_lines(record)
        else:
            best = result.ranking[0] if result is not None and result.ranking else None
            if best is not None and best.final is not None:
                self._found = dataclasses.replace(self._found, lr=best.peak_lr)
                self._schedule, self._lines = best.label, schedule_lines(record)

    def _so_far(self, status: Status) -> RunRecord[TuneResult]:
        found = self._found
        argument = found.batch_argument
        batch = {argument: found.batch_size} if argument is not None and found.batch_size is not None else {}
        step = step_settings(self._settings)
        target = self._target
        if isinstance(target, CommandTarget):
            target = dataclasses.replace(target, command=with_size(target.command, found.batch_size))
        recipe = recipe_text(target, batch, step, self._settings.horizon, found.lr, self._schedule, self._folder)
        stages, seconds = tuple(self._stages), time.monotonic() - self._began
        result = TuneResult(stages, found.batch_size, found.lr, self._schedule, tuple(self._lines), recipe, seconds)
        return RunRecord(
            command="tune",
            status=status,
            target=self._target.as_dict(),
            settings=dataclasses.asdict(self._settings),
            environment=self._environment,
            result=result,
        )


def _stage(name: str, record: RunRecord[Any], seconds: float, arguments: Sequence[str], path: Path) -> TunedStage:
    """A stage as its record tells it."""
    shown, view = printed(record), view_of(record)
    answer = view.answer(shown)
    if answer is not None and name == "lr" and record.result is not None and record.result.suggestion.lr is not None:
        answer = format_lr(record.result.suggestion.lr)
    status: StageStatus = "interrupted" if record.status == "interrupted" else "ok" if answer else "inconclusive"
    detail = (view.problem(shown) if answer is None else _why(name, record)) or view.headline(shown)
    return TunedStage(name, status, answer, detail, seconds, tuple(arguments), str(path))


def _why(name: str, record: RunRecord[Any]) -> str:
    """Why an answer is what it is, in a line."""
    result: Any = record.result
    if name == "check":
        return view_of(record).headline(printed(record))
    if name == "batch-size":
        return str(result.reason).partition(":")[0]
    if name == "lr":
        return f"{result.suggestion.confidence or 'unknown'} confidence"
    best = result.ranking[0]
    others = ", ".join(f"{row.label} {row.verdict}" for row in result.ranking[1:])
    return f"at {format_lr(best.peak_lr)}; {others}"
