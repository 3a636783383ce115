"""What a search asks of a bench, and what it answers; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrscout.processes.messages import Limits, Report, Request
from lrscout.results import OwnSize, Target, Trial
from lrscout.settings import FindBatchSizeSettings

if TYPE_CHECKING:
    from lrscout.engine.trials.bench import Bench


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What is known of the data that a loader draws from."""

    samples: int | None  # None for a stream
    longest: int | None  # index of the longest sample; None if they are all alike


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What a look at the target tells before any trial."""

    environment: Mapping[str, Any]
    on_cpu: bool
    training: DataFacts
    evaluation: DataFacts
    own: OwnSize | None
    available_bytes: int | None  # None: the device does not report its memory
    source_digest: str  # of the files that define the target, its model and its data set

    def data(self, evaluates: bool) -> DataFacts:
        return self.evaluation if evaluates else self.training


@dataclass(frozen=True, slots=True)
class ShapeEstimate:
    """What a step would take, by shapes alone."""

    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    base_bytes: int  # of the line that the whole peak follows
    bytes_per_sample: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """A trial, with the exception behind it if the user's code failed."""

    trial: Trial
    error: BaseException | None = None


@dataclass(frozen=True)
class Inspect(Request["Bench", TargetFacts]):
    """Look at the target."""

    limits: Limits

    def perform(self, host: Bench, report: Report) -> TargetFacts:
        return host.inspect()


@dataclass(frozen=True)
class Estimate(Request["Bench", ShapeEstimate]):
    """Find out what a step would take without running one."""

    longest: int | None  # index of the sample that every batch consists of
    limits: Limits

    def perform(self, host: Bench, report: Report) -> ShapeEstimate:
        return host.estimate(self.longest)


@dataclass(frozen=True)
class TrySize(Request["Bench", Attempt]):
    """Run a trial."""

    batch_size: int
    longest: int | None  # index of the sample that every batch consists of while memory is measured
    evaluates: bool
    limits: Limits

    @property
    def limit_bytes(self) -> int | None:
        return self.limits.memory_bytes

    def perform(self, host: Bench, report: Report) -> Attempt:
        return host.run(self)


def make_bench(place: int, target: Target, settings: FindBatchSizeSettings) -> Bench:
    """The bench of a process that is there for trials alone."""
    from lrscout.engine.target import find_target  # here and not above: they bring torch
    from lrscout.engine.trials.bench import Bench
    from lrscout.engine.trials.source import Source

    return Bench(Source(find_target(target), target, settings.batch_arg, settings.seed), settings, own_process=True)
