"""What a comparison asks of whatever makes its runs, and what that answers; free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lrscout.errors import LrscoutError
from lrscout.processes.messages import Report
from lrscout.results import CommandTarget, ComparedRun, Target
from lrscout.runs.programs import on_this_node
from lrscout.runs.requests import TrainingRequest
from lrscout.search.budget import Cost
from lrscout.search.comparison import PlannedRun
from lrscout.settings import CompareSchedulersSettings

if TYPE_CHECKING:
    from lrscout.engine.workload import Workload
    from lrscout.runs.comparison.command import CommandWorkbench
    from lrscout.runs.comparison.workbench import Workbench


@dataclass(frozen=True, slots=True)
class LiveTarget:
    """A target that only this process can use: objects passed from Python."""

    build: Callable[[int], Workload]  # seeds everything and builds the workload
    metric_fn: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known about a target before the first run."""

    target: Mapping[str, Any]  # as the record shows it
    environment: Mapping[str, Any]
    held_out: bool  # whether there are held-out data that can be evaluated
    own_lr: float  # the largest rate of the optimizer's groups
    devices: int  # accelerators
    cores: int
    warnings: tuple[str, ...]
    no_val_loss: str | None = None  # why held-out data cannot be, though there are some
    ignores_seed: bool = False  # all runs are the same, whatever their seeds


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run and its warnings."""

    run: ComparedRun
    warnings: tuple[str, ...] = ()
    error: LrscoutError | None = None  # why it failed, which ends the comparison if no run before it succeeded


class Host(Protocol):
    """What makes the runs: of an importable target, or of a training command."""

    def inspect(self, on_output: Callable[[str], None]) -> Inspection: ...

    def sweep(self) -> float: ...

    def measure_cost(self) -> Cost: ...

    def run(self, plan: PlannedRun, steps: int, jobs: int, on_point: Report) -> FinishedRun: ...


@dataclass(frozen=True)
class Inspect(TrainingRequest[Host, Inspection]):
    """Build the workload once and check that everything can be used, before the first run.

    Reports what a training command prints.
    """

    def perform(self, host: Host, report: Report) -> Inspection:
        return host.inspect(report)


@dataclass(frozen=True)
class Sweep(TrainingRequest[Host, float]):
    """Find the rate that find-lr suggests."""

    def perform(self, host: Host, report: Report) -> float:
        return host.sweep()


@dataclass(frozen=True)
class MeasureCost(TrainingRequest[Host, Cost]):
    """Find out what a run costs."""

    def perform(self, host: Host, report: Report) -> Cost:
        return host.measure_cost()


@dataclass(frozen=True)
class MakeRun(TrainingRequest[Host, FinishedRun]):
    """Make one run; `jobs` of them share a machine at the same time. Reports some of its points."""

    plan: PlannedRun
    steps: int
    jobs: int

    def perform(self, host: Host, report: Report) -> FinishedRun:
        return host.run(self.plan, self.steps, self.jobs, report)


def make_workbench(place: int, target: Target, settings: CompareSchedulersSettings) -> Workbench:
    """The workbench of a worker."""
    from lrscout.runs.comparison.workbench import Workbench  # here and not above: it brings torch

    return Workbench(place, target, settings)


def make_command_workbench(place: int, target: CommandTarget, settings: CompareSchedulersSettings) -> CommandWorkbench:
    """The workbench of a worker, for a training command."""
    from lrscout.runs.comparison.command import CommandWorkbench  # here and not above: it needs these requests

    return CommandWorkbench(on_this_node(target), settings)
