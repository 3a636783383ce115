"""The life of one run of any command: keep what was measured, save it, show it, and say how it ended."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import typer

from lrscout.commands.ci import in_ci, tell_github
from lrscout.commands.invocation import Invocation
from lrscout.commands.saving import SaveTimes
from lrscout.commands.show import show_record
from lrscout.commands.signals import EndingSignals, ended_by_signals
from lrscout.commands.stdin import no_stdin
from lrscout.commands.watchdog import Watchdog
from lrscout.errors import ForeignError, LrscoutError, OutputError, RecordError, exited, summary
from lrscout.files import is_stream
from lrscout.history import new_record_path, remember
from lrscout.processes.deaths import SIGNALLED
from lrscout.processes.new_files import FolderContents
from lrscout.records import save, to_json
from lrscout.report.ci import GitHub, PlainLog, Service
from lrscout.report.exports import write_exports
from lrscout.report.output import Output
from lrscout.report.stdout import results_stream
from lrscout.report.views import load_view
from lrscout.results import CommandTarget, RunRecord, Status, Target
from lrscout.runs.new_files import new_files_sentence
from lrscout.search.conditions import Check
from lrscout.settings import CommandSettings

EXIT_CODES: dict[Status, int] = {"ok": 0, "failed": 1, "inconclusive": 4, "interrupted": 130}
FAILED_CHECK = 5  # the exit code where what was asked to hold does not


class Run:
    """One run, from the command line to its exit code."""

    def __init__(self, command: str, invocation: Invocation[Any], output: Output, signals: EndingSignals) -> None:
        self.output = output
        self._command, self._invocation = command, invocation
        self.target: Target | CommandTarget = invocation.target
        self._path: Path | None = invocation.output
        self._so_far: Callable[[], RunRecord[Any]] | None = None
        target, is_search = invocation.target, isinstance(invocation.settings, CommandSettings)
        # what a real training writes is wanted
        self._before = FolderContents(target.cwd) if isinstance(target, CommandTarget) and is_search else None
        self._times = SaveTimes()
        self.own_files: list[Path] = []  # written beside the record, and not by a training command
        self._concluded = False
        self._has_warned = False  # that the record so far cannot be saved
        self._folder = Path.cwd()  # the user's code may change it
        self._signals = signals
        self.service: Service = PlainLog()
        self.watchdog = Watchdog(None)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around what --timeout is for, where the run is not that of a training command, which is waited for."""
        is_target = not isinstance(self._invocation.target, CommandTarget)
        self.watchdog = Watchdog(getattr(self._invocation.settings, "timeout", None) if is_target else None)
        with self.watchdog:
            yield

    def load(self, module: str) -> None:
        """Import a module that brings torch, so that Ctrl-C ends that too."""
        self.watchdog.rest()  # both need the timer
        with self._signals.insisting():
            importlib.import_module(module)
        self.watchdog.hear()

    def keep(self, so_far: Callable[[], RunRecord[Any]], at_once: bool = False) -> None:
        """Remember how to make the record so far, and write it every few seconds; cheap to call at every step.

        `at_once` writes it now, or soon where that would take much of the time (`catch_up`).
        """
        self._so_far = so_far
        self.watchdog.hear()
        if self._path is not None and is_stream(self._path):
            return  # whoever reads it gets one document
        self._times.want(at_once)
        self.catch_up()

    def catch_up(self) -> None:
        """Write what `keep` was given, if it is time to."""
        if self._so_far is not None and self._times.is_now:
            with self._times.saving():
                problem = self._save(self._so_far())
            if problem is not None and not self._has_warned:
                self._has_warned = True
                self.output.warn(f"{problem.message} The run goes on; lrscout will try again.")

    def finish(self, record: RunRecord[Any], checks: Sequence[Check] = ()) -> None:
        """Show the record, save it and end with its exit code, or with that of a check that it does not pass."""
        self.conclude(record, checks)
        unmet = [f"Check failed: {check.name} ({check.detail})." for check in checks if not check.passed]
        for text in unmet:
            self.output.warn(text)
        if unmet:
            self.service.failed(" ".join(unmet))
        code = self.exit_code(record.status)
        raise typer.Exit(FAILED_CHECK if unmet and not code else code)

    def exit_code(self, status: Status) -> int:
        """The exit code of a run that ended like this; after a signal, the one that a shell gives."""
        if status == "interrupted" and self._signals.number is not None:
            return SIGNALLED + self._signals.number
        return EXIT_CODES[status]

    def conclude(self, record: RunRecord[Any], checks: Sequence[Check] = ()) -> None:
        """Save the record and show it, with the files that a training command has left."""
        self.service.end()
        left = self._left_files()
        if left is not None:
            record = replace(record, warnings=(*record.warnings, left))
        unsaved = self._save_at_last(record)  # first: whoever reads the result may go away
        problems: list[LrscoutError] = [
            *([] if unsaved is None else [unsaved]),
            *write_exports(record, self._invocation.exports),
        ]
        self._concluded = True
        path = self._path if unsaved is None else None
        if path is not None:
            self._remember(path)
        try:
            show_record(record, self.output, None if path is None else self._told(path))
        except OutputError as error:
            problems.append(error)
        for text in tell_github(record, path, checks) if isinstance(self.service, GitHub) else ():
            self.output.warn(text)
        for problem in problems[1:]:
            self.output.error(problem)
        if problems:
            raise problems[0]

    def fail(self, status: Status, error: str) -> None:
        """Save what was measured before something went wrong; in JSON mode, print it.

        A run that was concluded stays as it is: an export that cannot be written does not make it a failure.
        """
        if self._concluded:
            return
        if self._so_far is not None:
            record = replace(self._so_far(), status=status, error=error)
            problem = self._save_at_last(record)
            if problem is not None:
                self.output.error(problem)
            elif self._path is not None:
                self.output.note(f"Record of what was measured so far: {self._told(self._path)}")
            left = self._left_files()
            if left is not None:
                self.output.warn(left)
        else:
            invocation = self._invocation
            record = RunRecord(
                command=self._command,
                status=status,
                target=invocation.target.as_dict(),
                settings=asdict(invocation.settings),
                environment={},
                result=None,
                error=error,
            )
        if self.output.mode == "json":
            self.output.result(to_json(record))

    def _left_files(self) -> str | None:
        """What a training command, which has ended by now, wrote into its folder; lrscout's own files do not count."""
        if self._before is None:
            return None
        own = [self._path, self._invocation.output, *self._invocation.exports.values(), *self.own_files]
        return new_files_sentence(self._before.new(except_for={path.absolute() for path in own if path is not None}))

    def _save(self, record: RunRecord[Any]) -> RecordError | None:
        """Write the record; returns why it cannot be written."""
        try:
            if self._path is None:
                self._path = new_record_path(self._command, self._invocation.target.label)
            save(record, self._path)
        except RecordError as error:
            return error
        return None

    def _save_at_last(self, record: RunRecord[Any]) -> RecordError | None:
        """Write the record for good; a file that was asked for and cannot be written is an error, the cache a warning.

        Instead of the file, the record goes to the cache.
        """
        problem = self._save(record)
        if problem is None:
            return None
        if self._invocation.output is None:
            self.output.warn(" ".join(filter(None, [problem.message, "The record is not saved.", problem.hint])))
            self._path = None
            return None
        try:
            instead = new_record_path(self._command, self._invocation.target.label)
            save(record, instead)
        except RecordError:
            return problem
        return RecordError(problem.message, hint=f"The record is in {instead} instead.")

    def _told(self, path: Path) -> Path:
        """A path as the user knows it: relative to the folder that lrscout was started in, if it is there."""
        return path.relative_to(self._folder) if path.is_relative_to(self._folder) else path

    def _remember(self, path: Path) -> None:
        try:
            remember(path, self._folder)
        except RecordError as error:
            self.output.warn(f"{error.message} `lrscout show` will not find this record without its path.")


@contextmanager
def running(command: str, invocation: Invocation[Any]) -> Iterator[Run]:
    """Run a command's body with stdout kept for results; a failure leaves a record of what was measured.

    Raises:
        typer.Exit: Ctrl-C (130), or a signal that ends a run as Ctrl-C does (128 and its number).
        Exception: whatever the body raised.
    """
    load_view(command, plots=invocation.mode == "human" or bool(invocation.exports))
    with results_stream() as results, no_stdin(), ended_by_signals() as signals:
        shown: dict[str, Any] = {
            "width": invocation.width,
            "verbose": invocation.verbose,
            "color": invocation.color,
        }
        output = Output(results, sys.stderr, mode=invocation.mode, **shown)
        run = Run(command, invocation, output, signals)
        if invocation.project is not None:
            output.note(f"Settings: {invocation.project}")
        try:
            with in_ci(command, invocation, output.command) as run.service:
                yield run
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            run.fail("interrupted", "interrupted")
            run.output.note("Interrupted.")
            raise typer.Exit(run.exit_code("interrupted")) from None
        except SystemExit as error:
            run.fail("failed", "sys.exit")
            raise exited(error) from error
        except BrokenPipeError:
            raise
        except LrscoutError as error:
            run.fail("failed", str(error))
            raise
        except ForeignError as error:
            run.fail("failed", str(error))
            raise
        except Exception as error:
            run.fail("failed", summary(error))
            raise


@contextmanager
def past_typer() -> Iterator[None]:
    """Around everything that calls the user's code: what that raises passes typer, which takes some of it for its own.

    Raises:
        ForeignError: from the user's exception; lrscout's own, sys.exit and Ctrl-C stay what they are.
    """
    try:
        yield
    except (LrscoutError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise ForeignError(error) from error
