"""Who performs the requests of a comparison: this process or others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

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
from lrscout.runs.requests import ATTEMPTS, TELLING
from lrscout.settings import CompareSchedulersSettings


def open_target(
    target: Target, settings: CompareSchedulersSettings, live: LiveTarget | None
) -> tuple[Executor[Host], Inspection]:
    """This process, --jobs others or a cluster, and what is found there; the others are all asked at the same time.

    With `auto`, a single one loads the target before it is known how many there will be.
    """
    executor: Executor[Host]
    runs = len(settings.schedules) * settings.seeds
    if settings.engine == "ray":
        from lrscout.runs.engines import RayEngine  # here and not above: few runs use it

        executor = RayEngine(target, settings).executor(make_workbench, settings)
        runs = 1  # Ray makes processes as it sees fit
    elif settings.jobs == "1" or live is not None:
        from lrscout.runs.comparison.workbench import Workbench  # here and not above: it brings torch

        executor = InProcess(Workbench(0, target, settings, live))
    else:
        workers = 1 if settings.jobs == "auto" else int(settings.jobs)
        starter = make_starter(TELLING)
        executor = WorkerPool(starter, make_workbench, (target, settings), workers=workers, attempts=ATTEMPTS)
    try:
        inspection = _inspected(executor, at_most=runs)  # with --jobs 9999 the others never have anything to do
    except BaseException:
        executor.close()
        raise
    if settings.jobs == "auto" and settings.engine == "here":
        executor.workers = inspection.devices or inspection.cores
    return executor, _of(inspection, target)


def _of(inspection: Inspection, target: Target | CommandTarget) -> Inspection:
    """What was found, with the target as it is called here."""
    return dataclasses.replace(inspection, target={**inspection.target, **target.as_dict()})


def _inspected(
    executor: Executor[Host], at_most: int, on_output: Callable[[str], None] = lambda line: None
) -> Inspection:
    found: Inspection | None = None
    for _, answer in executor.run([Inspect()] * min(executor.workers, at_most), lambda _, line: on_output(line)):
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
    """This process, --jobs others or a cluster, and what is found in the command here or on a node."""
    if settings.engine == "ray":
        return _command_on_ray(target, settings, observer)
    inspection = CommandWorkbench(target, settings).inspect(observer.printed)
    jobs = int(settings.jobs) if settings.jobs != "auto" else inspection.devices or inspection.cores
    settings, inspection = _with_threads(settings, inspection)
    if jobs == 1:
        return InProcess(CommandWorkbench(target, settings)), inspection
    starter = make_starter(preloaded=CommandWorkbench.__module__)
    return WorkerPool(starter, make_command_workbench, (target, settings), workers=jobs, attempts=ATTEMPTS), inspection


def _command_on_ray(
    target: CommandTarget, settings: CompareSchedulersSettings, observer: ComparisonObserver
) -> tuple[Executor[Host], Inspection]:
    from lrscout.runs.engines import RayEngine  # here and not above: few runs use it

    engine = RayEngine(target, settings)
    try:
        inspection = _inspected(engine.executor(make_command_workbench, settings), 1, observer.printed)
        settings, inspection = _with_threads(settings, inspection)
        return engine.executor(make_command_workbench, settings), _of(inspection, target)
    except BaseException:
        engine.cluster.close()
        raise


def _with_threads(
    settings: CompareSchedulersSettings, inspection: Inspection
) -> tuple[CompareSchedulersSettings, Inspection]:
    """Both with the threads that each run gets."""
    settings = dataclasses.replace(settings, threads=threads_of(settings, inspection))
    if settings.threads is not None:
        inspection = dataclasses.replace(
            inspection, environment={**inspection.environment, "threads": settings.threads}
        )
    return settings, inspection
