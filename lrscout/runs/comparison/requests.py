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
    """A target that only this process can use: objects passed from Python."""

    build: Callable[[int], Workload]  # seeds everything and builds the workload
    metric_fn: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known about a target before the first run."""

    environment: Mapping[str, Any]
    held_out: bool
    own_lr: float  # the largest rate of the optimizer's groups
    devices: int  # accelerators
    cores: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run and its warnings."""

    run: ComparedRun
    warnings: tuple[str, ...] = ()


class _WorkbenchRequest(Request["Workbench", A]):
    """A request to a workbench; running out of memory counts as the death of its process."""

    def is_out_of_memory(self, error: BaseException) -> bool:
        from lrscout.engine.out_of_memory import is_out_of_memory  # a worker has torch by now

        return is_out_of_memory(error)


@dataclass(frozen=True)
class Inspect(_WorkbenchRequest[Inspection]):
    """Build the workload once and check that everything can be used, before the first run."""

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
    """Make one run; `jobs` of them run at the same time. Reports some of its points."""

    plan: PlannedRun
    steps: int
    jobs: int

    def perform(self, host: Workbench, report: Report) -> FinishedRun:
        return host.run(self.plan, self.steps, self.jobs, report)


def make_workbench(place: int, target: Target, settings: CompareSchedulersSettings) -> Workbench:
    """The workbench of a worker."""
    from lrscout.runs.comparison.workbench import Workbench  # here and not above: it brings torch

    return Workbench(place, target, settings)
