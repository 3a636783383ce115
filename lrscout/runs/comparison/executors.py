"""Who performs the requests of a comparison: this process or others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrscout.processes.deaths import Died, WorkerDiedError
from lrscout.processes.executor import Executor, InProcess
from lrscout.processes.pool import WorkerPool
from lrscout.processes.start import make_starter
from lrscout.results import Target
from lrscout.runs.comparison.requests import Inspect, Inspection, LiveTarget, make_workbench
from lrscout.settings import CompareSchedulersSettings

if TYPE_CHECKING:
    from lrscout.runs.comparison.workbench import Workbench

ATTEMPTS = 2  # at a run whose process dies


def inspected(executor: Executor[Workbench]) -> Inspection:
    """What each worker finds, asked of all so that they load the target at the same time."""
    found: Inspection | None = None
    for _, answer in executor.run([Inspect()] * executor.workers):
        if isinstance(answer, Died):
            raise WorkerDiedError(answer)
        found = answer
    assert found is not None
    return found


def open_executor(target: Target, settings: CompareSchedulersSettings, live: LiveTarget | None) -> Executor[Workbench]:
    """This process or --jobs others; with `auto`, a single one until the target has been inspected."""
    if settings.jobs == "1" or live is not None:
        from lrscout.runs.comparison.workbench import Workbench  # here and not above: it brings torch

        return InProcess(Workbench(0, target, settings, live))
    workers = 1 if settings.jobs == "auto" else int(settings.jobs)
    return WorkerPool(make_starter(), make_workbench, (target, settings), workers=workers, attempts=ATTEMPTS)
