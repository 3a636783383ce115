"""The length of the real training that a rate is suggested for."""

from __future__ import annotations

from dataclasses import dataclass

from lrscout.engine.batches import batches_in
from lrscout.engine.schedulers import attached_total
from lrscout.engine.session import Session
from lrscout.errors import UsageError
from lrscout.search.rules import CALIBRATED
from lrscout.search.scout import HORIZON
from lrscout.settings import FindLrSettings


@dataclass(frozen=True, slots=True)
class TrainingLength:
    """The length of a training."""

    steps: int  # of the optimizer
    epochs: float | None  # None if unknown: a stream has no epochs
    warning: str | None = None  # if it was taken from the target


def length_of_training(settings: FindLrSettings, session: Session) -> TrainingLength:
    """The length in the settings, else that of an attached scheduler, else the one that scout was calibrated for.

    Raises:
        UsageError: the length is given in epochs, but the train_loader has no length.
    """
    batches = batches_in(session.workload.train_loader)
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
    found = attached_total(session.optimizers) if settings.rule in CALIBRATED else None
    if found is None:
        return TrainingLength(HORIZON, None)
    name, total = found
    warning = f"Assuming a training of {total} steps, the length of the target's {name} (--horizon sets another)."
    return TrainingLength(total, total / each if each else None, warning)
