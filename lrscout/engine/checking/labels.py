"""Whether the labels of the data belong to its inputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from statistics import fmean, stdev
from time import monotonic
from typing import Any

from torch import Tensor

from lrscout.engine.batches import batches_in, shut_down_workers
from lrscout.engine.checking.subject import Subject
from lrscout.engine.session import Session
from lrscout.engine.state import preserved

MOST_STEPS, MOST_SECONDS = 100, 8.0  # of each of the two trainings
LEAST_STEPS = 20
CLEAR = 3.0  # standard errors


@dataclass(frozen=True, slots=True)
class Labels:
    """Two trainings on the same new batches: with their labels, and with those of other samples."""

    steps: int
    own: float  # mean loss over the second half
    others: float
    tells: bool  # whether the first is clearly lower


def compare_labels(subject: Subject) -> Labels | None:
    """Train with the labels and with those of other samples; None where a batch has no label for each sample.

    No sample comes twice, since any labels can be learned by heart.
    """
    if subject.workload.loss_fn is None or subject.workload.step is not None or _rolled(subject.batches[0]) is None:
        return None
    own = _losses(subject, rolls=False)
    others = _losses(subject, rolls=True)
    steps = min(len(own), len(others))
    half = slice(steps // 2, steps)
    better = [other - one for one, other in zip(own[half], others[half])]
    if steps < LEAST_STEPS:
        return Labels(steps, math.nan, math.nan, False)
    error = stdev(better) / math.sqrt(len(better))
    return Labels(steps, fmean(own[half]), fmean(others[half]), not fmean(better) <= CLEAR * error)


def _losses(subject: Subject, rolls: bool) -> list[float]:
    loader = subject.workload.train_loader
    steps = min(MOST_STEPS, batches_in(loader) or MOST_STEPS)
    settings = dataclasses.replace(subject.settings, accumulate=1, compile=False)
    losses: list[float] = []
    with preserved((), (), [loader]):
        feed = _Once(loader, rolls)
        with subject.opened(Session(dataclasses.replace(subject.workload, train_loader=feed), settings)) as session:
            until = monotonic() + MOST_SECONDS
            session.set_lr(subject.fits[0].lr)
            for _ in range(steps):
                session.step()
                losses += session.losses(wait=True)
                subject.tick(f"step {len(losses)}")
                if monotonic() > until or not math.isfinite(losses[-1]):
                    break
    return losses


class _Once:
    """The batches of a loader, each sample with its own label or with that of its neighbor."""

    def __init__(self, loader: Any, rolls: bool) -> None:
        self._loader, self._rolls = loader, rolls

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._loader)
        try:
            for batch in islice(batches, MOST_STEPS):
                rolled = _rolled(batch) if self._rolls else None
                yield batch if rolled is None else rolled
        finally:
            shut_down_workers(batches)


def _rolled(batch: Any) -> Any:
    """The batch with the label of another sample for each; None if it has no label for each."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        return None
    inputs, labels = batch
    if not isinstance(labels, Tensor) or not labels.dim() or labels.shape[0] < 2:
        return None
    if labels.dim() > 1 and (labels.dim() > 2 or not labels.is_floating_point()):  # such as the text that comes next
        return None
    return inputs, labels.roll(1, 0)
