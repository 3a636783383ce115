"""A live workload as a search for a learning rate trains it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lrscout.engine.batches import batches_in
from lrscout.engine.environment import describe_environment
from lrscout.engine.fingerprint import weights_digest
from lrscout.engine.schedulers import attached_total, make_scheduler
from lrscout.engine.session import Session
from lrscout.engine.training import MOST_VAL_BATCHES, Trainee
from lrscout.engine.workload import Workload
from lrscout.errors import UsageError
from lrscout.results import Target
from lrscout.runs.lr.trainer import Scheduled, TrainingLength
from lrscout.runs.targets import open_workload
from lrscout.schedules import ScheduleSpec
from lrscout.search.rules import CALIBRATED
from lrscout.search.scout import HORIZON
from lrscout.settings import FindLrSettings

SAME_WEIGHTS = (
    "Every seed of --seeds began with the same weights, so their rates differ by the order of the data only. Unless the"
    " weights are pretrained, make the model in the function that is the target."
)


class LiveTrainer:
    """Trains a workload in this process, and restores it after every session."""

    def __init__(self, workload: Workload, settings: FindLrSettings, target: Target) -> None:
        self._workload, self._settings, self._where = workload, settings, target
        self._session = Session(workload, settings, val_batches=settings.val_batches)
        self._trained: tuple[str, ...] = ()  # the warnings of the trainings that have ended
        self.target: Mapping[str, Any] = target.as_dict()
        self.environment: Mapping[str, Any] = describe_environment(self._session)

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self._session.warnings, *self._trained)

    def length(self) -> TrainingLength:
        settings, batches = self._settings, batches_in(self._workload.train_loader)
        each = None if batches is None else batches / settings.accumulate
        if settings.horizon is not None:
            return TrainingLength(settings.horizon, settings.horizon / each if each else None)
        if settings.epochs is not None:
            if each is None:
                raise UsageError(
                    "--epochs needs a train_loader with a length, but this one has none.",
                    hint="Give the length in optimizer steps: --horizon N.",
                )
            return TrainingLength(max(1, round(settings.epochs * each)), settings.epochs)
        found = attached_total(self._session.optimizers) if settings.rule in CALIBRATED else None
        if found is None:
            return TrainingLength(HORIZON, None)
        name, total = found
        warning = f"Assuming a training of {total} steps, the length of the target's {name} (--horizon sets another)."
        return TrainingLength(total, total / each if each else None, warning)

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
    return Scheduled(trainee, make_scheduler(schedule, session.optimizers, peak, steps))
