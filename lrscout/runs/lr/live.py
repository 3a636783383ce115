"""A live workload as a search for a learning rate trains it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lrscout.engine.environment import describe_environment
from lrscout.engine.fingerprint import weights_digest
from lrscout.engine.length import own_length
from lrscout.engine.schedulers import make_scheduler
from lrscout.engine.session import Session
from lrscout.engine.training import MOST_VAL_BATCHES, Trainee
from lrscout.engine.workload import Workload
from lrscout.results import LrRecord, Target
from lrscout.runs.lr.in_turn import search_in_turn
from lrscout.runs.lr.observer import LrObserver
from lrscout.runs.lr.search import search_lr
from lrscout.runs.lr.trainer import ALONE, OPPOSED, Scheduled, TrainingLength, length_of
from lrscout.runs.lr.work import WorkHere
from lrscout.runs.targets import open_workload
from lrscout.schedules import ScheduleSpec
from lrscout.settings import FindLrSettings
from lrscout.settings.optimizers import ALL, EACH

SAME_WEIGHTS = (
    "Every seed of --seeds began with the same weights, so their rates differ by the order of the data only. Unless the"
    " weights are pretrained, make the model in the function that is the target."
)


def search_live(
    workload: Workload, settings: FindLrSettings, target: Target, observer: LrObserver | None = None
) -> LrRecord:
    """Search a rate for a workload: of all its optimizers by one multiplier, of one of them, or of each in turn."""
    observer = observer or LrObserver()
    subject = LiveOptimizers(workload, settings, target)
    if not subject.takes_turns:
        return search_lr(subject.trainer(None), settings, observer)
    works = ((number, WorkHere(subject.trainer(number))) for number in subject.numbers)
    record = search_in_turn(works, settings, observer)
    return dataclasses.replace(record, settings={**record.settings, "optimizer": EACH})


class LiveOptimizers:
    """The optimizers of a workload, and their trainers."""

    def __init__(self, workload: Workload, settings: FindLrSettings, target: Target) -> None:
        self._workload, self._settings, self._target = workload, settings, target
        self.takes_turns = settings.optimizer == EACH and workload.optimizer is not None
        together = dataclasses.replace(settings, optimizer=ALL)
        self.numbers = range(LiveTrainer(workload, together, target).count) if self.takes_turns else range(0)
        self._trainers: dict[int | None, LiveTrainer] = {}

    def trainer(self, number: int | None) -> LiveTrainer:
        """The trainer of one of them, where they are searched for in turn; else that of those the settings name."""
        if number not in self._trainers:
            self._trainers[number] = LiveTrainer(self._workload, self._settings_of(number), self._target)
        return self._trainers[number]

    def _settings_of(self, number: int | None) -> FindLrSettings:
        if number is None:
            return self._settings
        wanted = str(number + 1) if len(self.numbers) > 1 else ALL
        return dataclasses.replace(self._settings, optimizer=wanted)


class LiveTrainer:
    """Trains a workload in this process, and restores it after every session."""

    def __init__(self, workload: Workload, settings: FindLrSettings, target: Target) -> None:
        self._workload, self._settings, self._where = workload, settings, target
        self._session = Session(workload, settings, val_batches=settings.val_batches)
        self._trained: tuple[str, ...] = ()  # the warnings of the trainings that have ended
        self.target: Mapping[str, Any] = target.as_dict()
        self.environment: Mapping[str, Any] = describe_environment(self._session)

    @property
    def count(self) -> int:
        """The number of optimizers that the workload has."""
        return len(self._session.optimizers)

    @property
    def reservation(self) -> str | None:
        if len(self._session.driven) < self.count:
            return ALONE
        opposed = self._session.has_losses_apart or (self._workload.manual and self.count > 1)
        return OPPOSED if opposed and not self._settings.val_batches else None

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self._session.warnings, *self._trained)

    def length(self) -> TrainingLength:
        own = own_length(self._session)
        return length_of(self._settings, own.steps_per_epoch, own.length)

    def group_lrs(self, lr: float) -> tuple[float, ...]:
        return self._session.group_lrs(lr)

    @contextmanager
    def sweep(self) -> Iterator[Session]:
        with self._session.open() as session:
            yield session

    @contextmanager
    def probe(self, schedule: ScheduleSpec, peak: float, steps: int) -> Iterator[Scheduled]:
        with self._session.open() as session:
            yield _scheduled(Trainee(session), session, schedule, peak, steps)

    @contextmanager
    def train(self, schedule: ScheduleSpec, peak: float, steps: int) -> Iterator[Scheduled]:
        with Session(self._workload, self._settings).open() as session:
            trainee = Trainee(session, most_batches=self._settings.val_batches or MOST_VAL_BATCHES)
            yield _scheduled(trainee, session, schedule, peak, steps)
            self._trained = trainee.warnings

    def reseeded(self, seed: int) -> LiveTrainer:
        """A dotted path is built anew; live objects only see other random numbers."""
        workload = self._workload if self._where.path is None else open_workload(self._where, seed)
        other = LiveTrainer(workload, dataclasses.replace(self._settings, seed=seed), self._where)
        if weights_digest(workload.model) == weights_digest(self._workload.model):
            other._trained += (SAME_WEIGHTS,)
        return other


def _scheduled(trainee: Trainee, session: Session, schedule: ScheduleSpec, peak: float, steps: int) -> Scheduled:
    return Scheduled(trainee, make_scheduler(schedule, session.driven, peak, steps))
