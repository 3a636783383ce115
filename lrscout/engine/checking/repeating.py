"""Whether a second run with the same seed is the same, and if not, from where on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from lrscout.engine.batches import tensors_in
from lrscout.engine.checking.subject import Subject
from lrscout.engine.fingerprint import tensors_digest
from lrscout.engine.session import Session
from lrscout.engine.workload import Workload

STEPS = 5


@dataclass(frozen=True, slots=True)
class Trace:
    """The beginning of a run, each part of it as a hash."""

    weights: dict[str, str]
    batches: list[str]
    losses: list[float]


def two_traces(subject: Subject) -> tuple[Trace, Trace] | None:
    """The beginnings of two runs with the same seed, the second on a workload that is built anew.

    None where there is only one, whose loader can be read only once.
    """
    seed = subject.settings.seed
    first = subject.build(seed) if subject.reads_once else subject.workload
    if subject.reads_once and first is subject.workload:
        return None
    return _trace(subject, first), _trace(subject, subject.build(seed))


def _trace(subject: Subject, workload: Workload) -> Trace:
    session, batches = Session(workload, subject.settings), list[str]()
    session.on_batch.append(lambda batch: batches.append(tensors_digest(tensors_in(batch))))
    with subject.opened(session):
        weights = {name: tensors_digest(tensors_in(value)) for name, value in workload.model.state_dict().items()}
        session.set_lr(subject.own_lr)
        losses: list[float] = []
        for step in range(STEPS):
            session.step()
            losses += session.losses(wait=True)
            subject.tick(f"step {step + 1}")
        return Trace(weights, batches, losses)


def first_difference(one: Sequence[Any], other: Sequence[Any]) -> int | None:
    """The place of the first items that differ; None if there are none. A nan is like another one."""
    pairs = zip(count(), map(repr, one), map(repr, other))
    return next((place for place, left, right in pairs if left != right), None)
