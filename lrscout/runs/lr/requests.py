"""What a search for a learning rate asks of other processes, and what that answers; free of torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from lrscout.processes.messages import Report
from lrscout.results import SweepPoint, TrainingPoint, Use
from lrscout.runs.lr.seed import FoundBySeed, StepObserver, search_seed
from lrscout.runs.lr.trainer import LrTrainer, TrainingLength
from lrscout.runs.lr.trainings import Trained, train
from lrscout.runs.requests import TrainingRequest
from lrscout.settings import FindLrSettings

REPORT_SECONDS = 0.1  # between two reports of a request under way


class Census(NamedTuple):
    """The optimizers of a target, as far as they are known."""

    in_turn: tuple[int, ...]  # the numbers of those that are searched for in turn; empty: one search for all chosen
    reservation: str | None = None  # what is doubtful about their answers


@dataclass(frozen=True, slots=True)
class Described:
    """What a rate is searched for, found out in another process."""

    optimizer: int | None  # its number, where optimizers are searched for in turn
    target: Mapping[str, Any]
    environment: Mapping[str, Any]
    warnings: tuple[str, ...]
    training: TrainingLength
    ratios: tuple[float, ...]  # of the rates of the groups to the largest
    census: Census
    at_a_time: int  # trainings that have a device for themselves, or a core for each rank

    def length(self) -> TrainingLength:
        return self.training

    def group_lrs(self, lr: float) -> tuple[float, ...]:
        return tuple(lr * ratio for ratio in self.ratios)


class LrHost(Protocol):
    """What takes the steps in another process: a workload of its own, or a training command."""

    def describe(self, optimizer: int | None, on_output: Callable[[str], None]) -> Described: ...

    def trainer(self, optimizer: int | None, seed: int | None = None) -> AbstractContextManager[LrTrainer]:
        """A trainer of one optimizer, or of those that the settings name, with this seed or that of the settings."""

    def census(self) -> Census: ...


class Advanced(NamedTuple):
    """What has happened since the last report."""

    steps: int
    planned: int  # steps that were not expected before
    lr: float
    loss: float


@dataclass(frozen=True)
class Describe(TrainingRequest[LrHost, Described]):
    """Find out what a rate is searched for. Reports what a training command prints."""

    optimizer: int | None = None

    def perform(self, host: LrHost, report: Report) -> Described:
        return host.describe(self.optimizer, report)


@dataclass(frozen=True)
class SearchSeed(TrainingRequest[LrHost, tuple[FoundBySeed, Census]]):
    """Search with one seed."""

    optimizer: int | None
    settings: FindLrSettings
    seed: int

    def perform(self, host: LrHost, report: Report) -> tuple[FoundBySeed, Census]:
        with host.trainer(self.optimizer, self.seed) as trainer:
            found = search_seed(trainer, self.settings, self.seed, _Reporter(report))
        return found, host.census()


@dataclass(frozen=True)
class TrainAt(TrainingRequest[LrHost, Trained]):
    """Make one training of --refine."""

    optimizer: int | None
    rate: float
    use: Use
    steps: int

    def perform(self, host: LrHost, report: Report) -> Trained:
        reporter = _Reporter(report)
        with host.trainer(self.optimizer) as trainer:
            return train(trainer, self.rate, self.use, self.steps, lambda point: reporter.stepped(point, None))


class _Reporter(StepObserver):
    """Reports a few times a second."""

    def __init__(self, report: Report) -> None:
        self._report, self._following, self._steps, self._planned = report, 0.0, 0, 0

    def planned(self, more: int) -> None:
        self._planned += more

    def stepped(self, point: SweepPoint | TrainingPoint, so_far: Callable[[], FoundBySeed] | None) -> None:
        self._steps += 1
        now = time.monotonic()
        if now >= self._following:
            self._following = now + REPORT_SECONDS
            self._report(Advanced(self._steps, self._planned, point.lr, point.loss))
            self._steps = self._planned = 0
