"""How long the real training is that a rate is looked for."""

from __future__ import annotations

from dataclasses import dataclass

from lrscout.engine.batches import batches_in
from lrscout.engine.schedulers import attached_total
from lrscout.engine.session import Session
from lrscout.errors import UsageError
from lrscout.search.scout import HORIZON
from lrscout.settings import FindLrSettings


@dataclass(frozen=True, slots=True)
class TrainingLength:
    """The length of a training."""

    steps: int  # of the optimizer
    epochs: float | None  # the same in passes over the data; None where nobody told it, or these have no end
    told: str | None = None  # what the user should know of where it is from


def length_of_training(settings: FindLrSettings, session: Session) -> TrainingLength:
    """What the settings say, else what an attached scheduler is made for, else what scout's constants hold for.

    Raises:
        UsageError: it is given in epochs, and the train_loader has no length.
    """
    batches = batches_in(session.workload.train_loader)
    each = None if batches is None else batches / settings.accumulate
    if settings.horizon is not None:
        return TrainingLength(settings.horizon, settings.horizon / each if each else None)
    if settings.epochs is not None:
        if each is None:
            raise UsageError(
                "--epochs needs a train_loader with a length, and this one has none.",
                hint="Give the optimizer steps of the real training: --horizon N.",
            )
        return TrainingLength(max(1, round(settings.epochs * each)), settings.epochs)
    found = attached_total(session.optimizers) if settings.rule == "scout" else None
    if found is None:
        return TrainingLength(HORIZON, None)
    name, total = found
    told = f"The rate is for {total} steps, as the target's {name} is made for (--horizon)."
    return TrainingLength(total, total / each if each else None, told)
