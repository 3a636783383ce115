"""The requests that a search sends to a Bench, and their answers; without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrscout.processes.messages import Limits, Report, Request
from lrscout.results import LoaderTiming, OwnSize, Target, Trial
from lrscout.settings import FindBatchSizeSettings

if TYPE_CHECKING:
    from lrscout.engine.trials.bench import Bench

# for the libraries that are loaded before a trial sets its own (lrscout.attached.memory): with glibc's moving
# threshold, the peak does not follow the batch size
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536"}


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What is known about the data of a loader."""

    samples: int | None  # None for a stream
    longest: int | None  # index of the longest sample; None if all are equally long, or if unknown


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What is known about the target before any trial."""

    environment: Mapping[str, Any]
    on_cpu: bool
    training: DataFacts
    evaluation: DataFacts
    own: OwnSize | None
    available_bytes: int | None  # None if the device does not report it
    source_digest: str  # hash of the files that define the target, its model and its dataset
    target: Mapping[str, Any] | None = None  # for the record, where more is known than was given
    ranks: int | None = None  # of a training command
    warnings: tuple[str, ...] = ()  # of a target on several ranks

    def data(self, evaluates: bool) -> DataFacts:
        return self.evaluation if evaluates else self.training


@dataclass(frozen=True, slots=True)
class ShapeEstimate:
    """The memory of a step, estimated from shapes alone."""

    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    base_bytes: int  # the peak as a line: base_bytes + batch size * bytes_per_sample
    bytes_per_sample: int
    target_bytes: int = 0  # of base_bytes: what the target's modules and data hold, where they share the memory


@dataclass(frozen=True, slots=True)
class TimedSteps:
    """The seconds of some steps, one by one."""

    seconds: tuple[float, ...]
    samples: int  # in a step
    loader_share: float | None = None  # fraction of the time spent waiting for the loader; None if nobody could tell


@dataclass(frozen=True, slots=True)
class Attempt:
    """A trial, with the steps that were timed in it, and the exception that the user's code raised, if any."""

    trial: Trial
    error: BaseException | None = None
    timed: TimedSteps | None = None


@dataclass(frozen=True)
class Inspect(Request["Bench", TargetFacts]):
    """Build and inspect the target."""

    limits: Limits

    def perform(self, host: Bench, report: Report) -> TargetFacts:
        return host.inspect()


@dataclass(frozen=True)
class Estimate(Request["Bench", ShapeEstimate]):
    """Estimate the memory of a step without running one."""

    longest: int | None  # index of the sample to fill every batch with
    limits: Limits

    def perform(self, host: Bench, report: Report) -> ShapeEstimate:
        return host.estimate(self.longest)


@dataclass(frozen=True)
class TrySize(Request["Bench", Attempt]):
    """Run a trial."""

    batch_size: int
    longest: int | None  # index of the sample to fill every batch with while memory is measured
    evaluates: bool
    limits: Limits

    @property
    def limit_bytes(self) -> int | None:
        return self.limits.memory_bytes

    def perform(self, host: Bench, report: Report) -> Attempt:
        return host.run(self)


@dataclass(frozen=True)
class TimeSize(Request["Bench", TimedSteps]):
    """Time some steps."""

    batch_size: int
    evaluates: bool
    limits: Limits

    def perform(self, host: Bench, report: Report) -> TimedSteps:
        return host.time(self.batch_size, self.evaluates)


@dataclass(frozen=True)
class TimeStep(Request["Bench", LoaderTiming]):
    """Time a training step, with or without its loader."""

    batch_size: int
    workers: int | None  # of the loader; None: as many as it has
    loads: bool  # False: with batches that were loaded before
    limits: Limits

    def perform(self, host: Bench, report: Report) -> LoaderTiming:
        return host.time_step(self)


def make_bench(place: int, target: Target, settings: FindBatchSizeSettings) -> Bench:
    """Create the bench of a process that only runs trials."""
    from lrscout.engine.trials.bench import Bench  # not at the top, because they import torch
    from lrscout.engine.trials.source import Source

    for name in MALLOC:  # read by now; a loader's workers that are spawned would load several times as slowly with it
        os.environ.pop(name, None)
    return Bench(Source(target, settings.batch_arg, settings.seed), settings, own_process=True)
