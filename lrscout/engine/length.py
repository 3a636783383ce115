"""The length of the training that a workload is for, as far as it tells."""

from __future__ import annotations

from typing import NamedTuple

from lrscout.engine.batches import batches_in
from lrscout.engine.schedulers import attached_total
from lrscout.engine.session import Session


class OwnLength(NamedTuple):
    """What a workload says of its length."""

    steps_per_epoch: float | None  # None of a stream
    length: tuple[str, int] | None  # what knows the steps of the training, and how many they are


def own_length(session: Session) -> OwnLength:
    """The steps of an epoch, and those of the whole training, from a framework's trainer or a scheduler."""
    workload = session.workload
    batches = batches_in(workload.train_loader)
    per_epoch = None if batches is None else batches / session.accumulate
    steps = workload.host.training_steps(batches)
    found = (f"{workload.host.framework} Trainer", steps) if steps else attached_total(session.driven)
    return OwnLength(per_epoch, found)
