"""`lrscout compare-schedulers`: load the target, train it under each schedule, rank them, save, show."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from lrscout.commands.gate import Gate, gate_flags
from lrscout.commands.invocation import Invocation
from lrscout.commands.options import flag_parameter, takes_settings
from lrscout.commands.run import FAILED_CHECK, Run, past_typer, running
from lrscout.errors import RecordError, UsageError
from lrscout.files import check_writable, write_text
from lrscout.history import cached_records
from lrscout.records import load, to_json
from lrscout.report.ci import junit_xml, run_line
from lrscout.report.output import Progress
from lrscout.results import CommandTarget, ComparedRun, CompareRecord, CompareResult
from lrscout.runs.comparison.observer import ComparisonObserver, OnStep
from lrscout.runs.comparison.search import compare
from lrscout.schedules import parse_schedules, schedule_among
from lrscout.search.conditions import Check, check_best, check_conditions, parse_condition
from lrscout.settings import ENGINE, CompareSchedulersSettings

COMMAND = "compare-schedulers"
FREE = ("schedules", "seeds", "jobs", "baseline", "min_effect", "timeout", "listen", "keep_environment", *ENGINE)
"""Settings that may change when a comparison is resumed."""


def _own_flags(command: str) -> list[inspect.Parameter]:
    def option(name: str, kind: object, default: object, help: str, **more: Any) -> inspect.Parameter:
        return flag_parameter(
            command, name, kind, default, f"--{name.replace('_', '-')}", help=help, **{"group": "CI", **more}
        )

    return [
        option(
            "resume",
            bool,
            False,
            "Continue an earlier comparison: the record of -o, or the last one.",
            group="Comparison",
        ),
        option(
            "fail_if",
            str | None,
            None,
            f"Exit with {FAILED_CHECK} if this holds: 'cosine worse than constant' (or better, not worse, not better);"
            " separate several by a semicolon.",
            metavar="CONDITION[;...]",
        ),
        option(
            "expect_best",
            str | None,
            None,
            f"Exit with {FAILED_CHECK} unless one of these is the best or ties with it.",
            metavar="NAME[,NAME]",
        ),
        option("junit_xml", Path | None, None, "Also write these checks as JUnit XML.", metavar="FILE"),
        *gate_flags(command),
    ]


@takes_settings("compare_schedulers", CompareSchedulersSettings, _own_flags)
def compare_schedulers(invocation: Invocation[CompareSchedulersSettings]) -> None:
    """Compare learning-rate schedules by short runs of the target, and say whether the difference is real.

    A training command is started anew for every run, with the run's seed in place of {seed}, and --steps in place of
    {steps}: -- python train.py --seed {seed}
    """
    demands = _Demands(invocation)
    path, before = _earlier(invocation)
    with running(COMMAND, dataclasses.replace(invocation, output=path)) as run:
        with past_typer(), run.watched(), run.output.progress(None, COMMAND) as progress:
            if isinstance(invocation.target, CommandTarget):
                progress.phase("starting the command")
            elif invocation.settings.engine == "ray":
                progress.phase(f"starting Ray, building {invocation.target.path}")
            elif invocation.settings.jobs == "1":
                progress.phase("importing torch")
                run.load("lrscout.runs.comparison.workbench")
                progress.phase(f"building {invocation.target.path}")
            else:
                progress.phase(f"importing torch, building {invocation.target.path}")
            record = compare(invocation.target, invocation.settings, _Observer(run, progress), before)
        checks = demands.checks(record)
        run.conclude(record, checks)
        if record.status == "interrupted":
            run.output.note("Run the same command with --resume to continue from here.")
            raise typer.Exit(run.exit_code(record.status))
        failed = _tell(demands, checks, record, run)
        code = run.exit_code(record.status)
        raise typer.Exit(FAILED_CHECK if failed and not code else code)


def _tell(demands: _Demands, checks: Sequence[Check], record: CompareRecord, run: Run) -> bool:
    """Tell of the checks; returns whether one failed."""
    assert record.result is not None
    unmet = [f"Check failed: {check.name} ({check.detail})." for check in checks if not check.passed]
    for text in unmet:
        run.output.warn(text)
    if record.status != "ok":
        unmet.append(f"compare-schedulers ended with status {record.status}.")
    if unmet:
        run.service.failed(" ".join(unmet))
    demands.write_junit(checks, record.result)
    return any(not check.passed for check in checks)


class _Demands:
    """The checks of --fail-if, --expect-best and --against, validated before anything runs."""

    def __init__(self, invocation: Invocation[CompareSchedulersSettings]) -> None:
        more, settings = invocation.more, invocation.settings
        self._gate = Gate(COMMAND, invocation)
        specs = parse_schedules(settings.schedules)
        self._conditions = [parse_condition(text, specs) for text in (more["fail_if"] or "").split(";") if text.strip()]
        best = more["expect_best"] or ""
        names = [best] if best in [spec.label for spec in specs] else best.split(",")  # a label may hold commas
        self._expected = [schedule_among(name.strip(), specs).label for name in names if name.strip()]
        for flag, key, found in (
            ("--fail-if", "fail_if", self._conditions),
            ("--expect-best", "expect_best", self._expected),
        ):
            if more[key] is not None and not found:
                raise UsageError(f"{flag} {more[key]!r} is empty.", hint=f"Give a value, or leave {flag} out.")
        self._min_effect: float = settings.min_effect
        self._junit: Path | None = more["junit_xml"]
        if (self._conditions or self._expected) and settings.seeds < 3:
            raise UsageError(
                f"--fail-if and --expect-best need at least 3 seeds, got --seeds {settings.seeds}.",
                hint="Fewer cannot tell a difference from chance.",
            )
        if self._junit is not None:
            check_writable(self._junit)

    def checks(self, record: CompareRecord) -> list[Check]:
        """How each demand went; none is judged before there are scores."""
        result = record.result
        if result is None or not result.ranking:
            return self._gate.checks(record)
        found = check_conditions(self._conditions, result)
        if self._expected:
            found.append(check_best(self._expected, result, self._min_effect))
        return [*found, *self._gate.checks(record)]

    def write_junit(self, checks: Sequence[Check], result: CompareResult) -> None:
        """The checks, and whether the runs of every schedule finished."""
        if self._junit is None:
            return
        cases = [(check.name, check.passed, check.detail) for check in checks]
        for row in result.ranking:
            ended = row.final.n if row.final is not None else 0
            told = f"{ended} runs finished, {row.diverged} diverged"
            cases.append((f"{row.label} trains", row.verdict not in ("diverged", "failed"), told))
        write_text(self._junit, junit_xml(f"lrscout {COMMAND}", cases, result.seconds))


class _Observer(ComparisonObserver):
    """Tells the user: a line for every run in a log, one moving line on a terminal."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self._run, self._progress = run, progress
        self._lines = not run.output.messages_style.live

    def opened(self) -> None:
        self._run.watchdog.rest()

    def phase(self, name: str) -> None:
        self._progress.phase(name)

    def say(self, text: str) -> None:
        self._run.output.note(text)

    @contextmanager
    def stretch(self, steps: int, label: str) -> Iterator[OnStep]:
        self._run.service.fold("The runs of lrscout compare-schedulers")
        watchdog = self._run.watchdog
        self._progress.expect(steps)
        self._progress.phase(label)

        def stepped(step: int, lr: float, loss: float) -> None:
            watchdog.hear()
            if not self._lines:
                self._progress.update(step, lr, loss)

        watchdog.hear()
        yield stepped
        watchdog.rest()  # what follows does not tell its steps

    def printed(self, line: str) -> None:
        self._run.output.relay(line)

    def finished(self, run: ComparedRun, done: int, total: int, seconds_left: float | None) -> None:
        if self._lines:
            self._run.output.note(run_line(run, done, total, seconds_left))

    def keep(self, so_far: Callable[[], CompareRecord]) -> None:
        self._run.keep(so_far, at_once=True)


def _earlier(invocation: Invocation[CompareSchedulersSettings]) -> tuple[Path | None, CompareResult | None]:
    """Where the record goes, and what is in it that need not be done again.

    Raises:
        UsageError: the record named is of another comparison.
    """
    named = invocation.output
    if not invocation.more["resume"] or (named is not None and not os.path.exists(named)):
        return named, None
    for path in [named] if named is not None else cached_records(COMMAND):
        try:
            record = load(path)
        except RecordError:
            if named is not None:
                raise
            continue
        other = _other(record, invocation)
        if not other:
            return path, record.result
        if named is not None:
            raise UsageError(
                f"{named} is the record of another run: {'; '.join(other)}.",
                hint="Leave out --resume, or give another -o.",
            )
    raise UsageError("No record of this comparison found to resume.", hint="Leave out --resume.")


def _other(record: CompareRecord, invocation: Invocation[CompareSchedulersSettings]) -> list[str]:
    """In what a record differs from what is asked for now."""
    if record.command != COMMAND:
        return [f"it was made by {record.command}"]
    now = json.loads(to_json(dataclasses.replace(record, settings=dataclasses.asdict(invocation.settings))))["settings"]
    found = [
        f"{name} was {record.settings.get(name)}, is now {value}"
        for name, value in now.items()
        if name not in FREE and record.settings.get(name, value) != value  # a setting may be newer than the record
    ]
    target = invocation.target.as_dict()
    return [
        *(f"its {name} was {record.target.get(name)}" for name in target if record.target.get(name) != target[name]),
        *found,
    ]
