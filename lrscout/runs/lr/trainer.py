"""What a search for a learning rate trains; it does not know whether that is a live workload or another program."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from lrscout.errors import UsageError
from lrscout.results import Confidence
from lrscout.schedules import ScheduleSpec
from lrscout.search.range_test import SweepSession
from lrscout.search.rules import CALIBRATED
from lrscout.search.scout import HORIZON
from lrscout.search.training import Schedule, TrainingSession
from lrscout.settings import FindLrSettings

ALONE = "the other optimizers kept their own rates meanwhile"
OPPOSED = (
    "several optimizers have losses of their own or are stepped by the target: if one learns against the other, as in a"
    " GAN, their losses tell little, and --val-batches reads the rate off held-out data"
)
RESERVATIONS: Mapping[str, Confidence] = {ALONE: "low", OPPOSED: "medium"}
"""What makes the answer for one of several optimizers doubtful, and the confidence that is left at most."""


@dataclass(frozen=True, slots=True)
class TrainingLength:
    """The length of the real training, which a rate is suggested for."""

    steps: int  # of the optimizer
    epochs: float | None  # None if unknown: a stream has no epochs
    source: str  # what gave it, in a few words
    warning: str | None = None  # if it was taken from the target


def length_of(settings: FindLrSettings, per_epoch: float | None, own: tuple[str, int] | None) -> TrainingLength:
    """The length that the settings give, or that the target has: what knows it, and how many steps it is.

    Raises:
        UsageError: the settings give it in epochs, but nobody knows the steps `per_epoch`.
    """
    if settings.horizon is not None:
        return TrainingLength(settings.horizon, settings.horizon / per_epoch if per_epoch else None, "--horizon")
    if settings.epochs is not None:
        if per_epoch is None:
            raise UsageError(
                "--epochs needs a train_loader with a length, but this one has none.",
                hint="Give the length in optimizer steps: --horizon N.",
            )
        return TrainingLength(max(1, round(settings.epochs * per_epoch)), settings.epochs, "--epochs")
    if own is None or settings.rule not in CALIBRATED:
        return TrainingLength(HORIZON, None, "by default")
    name, total = own
    warning = f"Assuming a training of {total} steps, the length of the target's {name} (--horizon sets another)."
    return TrainingLength(total, total / per_epoch if per_epoch else None, f"the target's {name}", warning)


class Scheduled(NamedTuple):
    """A training session, and the schedule that sets its rates."""

    session: TrainingSession
    schedule: Schedule


class LrSubject(Protocol):
    """What a rate is searched for."""

    @property
    def target(self) -> Mapping[str, Any]:
        """What is trained, for the record."""

    @property
    def environment(self) -> Mapping[str, Any]:
        """Versions, device, optimizer and parameter groups, for the record."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the steps so far."""

    def length(self) -> TrainingLength:
        """The length of the real training.

        Raises:
            UsageError: the settings give it in epochs, but the train_loader has no length.
        """

    def group_lrs(self, lr: float) -> tuple[float, ...]:
        """The rate of each parameter group if the largest is `lr`."""


class LrTrainer(LrSubject, Protocol):
    """Takes the steps of a search. Every session that it opens starts from the same state, on the same data."""

    @property
    def reservation(self) -> str | None:
        """What is doubtful about an answer for these optimizers (RESERVATIONS), as far as they have taken steps."""

    def sweep(self) -> AbstractContextManager[SweepSession]:
        """A session for a sweep."""

    def probe(self, schedule: ScheduleSpec, peak: float, steps: int) -> AbstractContextManager[Scheduled]:
        """A session for a short training, whose losses are those that a sweep has too."""

    def train(self, schedule: ScheduleSpec, peak: float, steps: int) -> AbstractContextManager[Scheduled]:
        """A session for a training, with its training losses."""

    def reseeded(self, seed: int) -> LrTrainer:
        """The same with another seed."""
