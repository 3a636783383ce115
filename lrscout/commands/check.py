"""`lrscout check`: load the target, look at it, save, show; exit with 5 if something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from lrscout.commands.invocation import Invocation
from lrscout.commands.options import takes_settings
from lrscout.commands.run import FAILED_CHECK, Run, past_typer, running
from lrscout.errors import UsageError
from lrscout.report.output import Progress
from lrscout.results import CheckRecord, CommandTarget
from lrscout.runs.check.observer import CheckObserver
from lrscout.settings import CheckSettings

if TYPE_CHECKING:
    from lrscout.engine.workload import Workload


@takes_settings("check", CheckSettings)
def check(invocation: Invocation[CheckSettings]) -> None:
    """See whether a target is sound: its data, its loss, its gradients, whether it learns, its speed."""
    if isinstance(invocation.target, CommandTarget):
        raise UsageError(
            "check looks at a target, and a training command has its own model and data.",
            hint="Name a function that builds them: lrscout check train.py:build. `lrscout init` writes one.",
        )
    with running("check", invocation) as run:
        with past_typer(), run.watched(), run.output.progress(None, "check", _facts) as progress:
            record = _checked(invocation, run, progress)
        run.conclude(record)
        failed = record.result.named("fail") if record.result is not None else ()
        if failed:
            run.service.failed(f"Checks failed: {', '.join(failed)}.")
        code = run.exit_code(record.status)
        raise typer.Exit(FAILED_CHECK if failed and not code else code)


def _checked(invocation: Invocation[CheckSettings], run: Run, progress: Progress) -> CheckRecord:
    progress.phase("importing torch")
    run.load("lrscout.runs.check.search")
    from lrscout.runs.check.search import check_target  # here and not above: they bring torch
    from lrscout.runs.targets import open_workload

    target, settings = invocation.target, invocation.settings
    assert not isinstance(target, CommandTarget)

    def build(seed: int) -> Workload:
        workload = open_workload(target, seed, progress.phase)
        progress.phase("checking")
        return workload

    return check_target(build, settings, target, _Observer(run, progress))


class _Observer(CheckObserver):
    """Shows on the progress line what is looked at, and keeps the record as it goes."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self._run, self._progress = run, progress

    def planned(self, checks: int) -> None:
        self._progress.expect(checks)

    def doing(self, done: int, name: str, now: str) -> None:
        self._run.watchdog.hear()
        self._progress.update(done, name, now)

    def checked(self, so_far: Callable[[], CheckRecord]) -> None:
        self._run.keep(so_far)

    def raised(self, name: str, error: Exception) -> None:
        self._run.output.user_error(error)


def _facts(name: str, now: str) -> tuple[str, ...]:
    return tuple(filter(None, (name, now)))
