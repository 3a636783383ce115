"""What a comparison asks of a workbench, and what it answers; free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrscout.processes.messages import A, Report, Request
from lrscout.results import ComparedRun, Target
from lrscout.search.budget import Cost
from lrscout.search.comparison import PlannedRun
from lrscout.settings import CompareSchedulersSettings

if TYPE_CHECKING:
    from lrscout.engine.workload import Workload
    from lrscout.runs.comparison.workbench import Workbench


@dataclass(frozen=True, slots=True)
class LiveTarget:
    """What only this process can use: objects that were handed over in Python."""

    build: Callable[[int], Workload]  # makes the workload anew, with everything seeded
    metric_fn: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of a target before the first run."""

    environment: Mapping[str, Any]
    held_out: bool
    own_lr: float  # the largest rate of the optimizer's groups
    devices: int  # accelerators
    cores: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run with what is worth knowing about it."""

    run: ComparedRun
    warnings: tuple[str, ...] = ()


class _WorkbenchRequest(Request["Workbench", A]):
    """Something to do at a workbench; running out of memory counts as the process's death."""

    def is_out_of_memory(self, error: BaseException) -> bool:
        from lrscout.engine.out_of_memory import is_out_of_memory  # a worker has torch by now

        return is_out_of_memory(error)


@dataclass(frozen=True)
class Inspect(_WorkbenchRequest[Inspection]):
    """Build the workload once, and find out what cannot be used before the first run."""

    def perform(self, host: Workbench, report: Report) -> Inspection:
        return host.inspect()


@dataclass(frozen=True)
class Sweep(_WorkbenchRequest[float]):
    """Find the rate that find-lr suggests."""

    def perform(self, host: Workbench, report: Report) -> float:
        return host.sweep()


@dataclass(frozen=True)
class MeasureCost(_WorkbenchRequest[Cost]):
    """Find out what a run costs."""

    def perform(self, host: Workbench, report: Report) -> Cost:
        return host.measure_cost()


@dataclass(frozen=True)
class MakeRun(_WorkbenchRequest[FinishedRun]):
    """Make one run, while `jobs` of them go on at the same time; reports some of its points."""

    plan: PlannedRun
    steps: int
    jobs: int

    def perform(self, host: Workbench, report: Report) -> FinishedRun:
        return host.run(self.plan, self.steps, self.jobs, report)


def make_workbench(place: int, target: Target, settings: CompareSchedulersSettings) -> Workbench:
    """The workbench of a worker."""
    from lrscout.runs.comparison.workbench import Workbench  # here and not above: it brings torch

    return Workbench(place, target, settings)
