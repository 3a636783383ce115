"""Who performs the requests of a comparison: this process or others."""

from __future__ import annotations

import dataclasses
import math

from lrscout.errors import NoAnswerError
from lrscout.formatting import format_lr
from lrscout.processes.deaths import Died, WorkerDiedError
from lrscout.processes.executor import Executor, InProcess
from lrscout.processes.pool import WorkerPool
from lrscout.processes.start import make_starter
from lrscout.results import CommandTarget, Target
from lrscout.runs.comparison.command import CommandWorkbench, threads_of
from lrscout.runs.comparison.observer import ComparisonObserver
from lrscout.runs.comparison.requests import (
    Host,
    Inspect,
    Inspection,
    LiveTarget,
    Sweep,
    make_command_workbench,
    make_workbench,
)
from lrscout.settings import CompareSchedulersSettings

ATTEMPTS = 2  # at a run whose process dies
TELLING = {"PYTHONFAULTHANDLER": "1"}  # where a segfault in the user's code happened


def open_target(
    target: Target, settings: CompareSchedulersSettings, live: LiveTarget | None
) -> tuple[Executor[Host], Inspection]:
    """This process or --jobs others, and what each of them finds, all asked at the same time.

    With `auto`, a single one loads the target before it is known how many there will be.
    """
    executor: Executor[Host]
    if settings.jobs == "1" or live is not None:
        from lrscout.runs.comparison.workbench import Workbench  # here and not above: it brings torch

        executor = InProcess(Workbench(0, target, settings, live))
    else:
        workers = 1 if settings.jobs == "auto" else int(settings.jobs)
        starter = make_starter(TELLING)
        executor = WorkerPool(starter, make_workbench, (target, settings), workers=workers, attempts=ATTEMPTS)
    try:
        runs = len(settings.schedules) * settings.seeds
        inspection = _inspected(executor, at_most=runs)  # with --jobs 9999 the others never have anything to do
    except BaseException:
        executor.close()
        raise
    if settings.jobs == "auto":
        executor.workers = inspection.devices or inspection.cores
    return executor, inspection


def _inspected(executor: Executor[Host], at_most: int) -> Inspection:
    found: Inspection | None = None
    for _, answer in executor.run([Inspect()] * min(executor.workers, at_most)):
        if isinstance(answer, Died):
            raise WorkerDiedError(answer)
        found = answer
    assert found is not None
    return found


def rate_to_start_from(executor: Executor[Host], inspection: Inspection) -> tuple[float, str | None]:
    """The rate that find-lr suggests; if it suggests none, the optimizer's own, with a warning that says so.

    Raises:
        NoAnswerError: the optimizer's rate cannot be used either.
    """
    try:
        return executor.ask(Sweep()), None
    except NoAnswerError as error:
        lr = inspection.own_lr
        if not 0 < lr < math.inf:
            raise
        return lr, f"{error.message} Started from the optimizer's own rate, {format_lr(lr)}; --lr sets another."


def open_command(
    target: CommandTarget, settings: CompareSchedulersSettings, observer: ComparisonObserver
) -> tuple[Executor[Host], Inspection]:
    """This process or --jobs others, and what this one finds in the command."""
    inspection = CommandWorkbench(target, settings).inspect(observer.printed)
    jobs = int(settings.jobs) if settings.jobs != "auto" else inspection.devices or inspection.cores
    settings = dataclasses.replace(settings, threads=threads_of(settings, inspection))
    if settings.threads is not None:
        inspection = dataclasses.replace(
            inspection, environment={**inspection.environment, "threads": settings.threads}
        )
    if jobs == 1:
        return InProcess(CommandWorkbench(target, settings)), inspection
    starter = make_starter(preloaded=CommandWorkbench.__module__)
    return WorkerPool(starter, make_command_workbench, (target, settings), workers=jobs, attempts=ATTEMPTS), inspection
