"""Whether a model can learn one small batch by heart, and still knows it in evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from time import monotonic
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lrscout.engine.batches import to_device
from lrscout.engine.checking.copies import copied
from lrscout.engine.modes import eval_mode
from lrscout.engine.session import Session

if TYPE_CHECKING:
    from lrscout.engine.checking.subject import Subject

RATES = (1.0, 3.0, 10.0)  # times the target's own, which may not have been chosen well yet
HIGHER = (30.0, 100.0, 300.0)  # while the highest is the best: the default of a Trainer is for pretrained models
LOWER = 0.1  # where the own is the best of them
LEARNED = 0.5  # of the first loss: no other rate needs to be tried
KNOWN_BY_HEART = 0.05  # of the first loss is left
LEAST_STEPS, MOST_SECONDS = 10, 4.0  # of a rate
LONGEST_SECONDS = 16.0  # of all rates, after which no higher one is tried
TAIL = 3  # losses, whose mean is the last one
SETTLING = 50  # forward passes, after which the averages of a batch norm are those of the weights as they are
REPEATS = 5  # with other masks of dropout


@dataclass(frozen=True, slots=True)
class Fit:
    """A training on one small batch at one rate."""

    lr: float
    first: float
    last: float  # may be nan or inf
    steps: int
    modes: tuple[float, float] | Exception  # the loss afterwards in training mode and in evaluation mode

    @property
    def fell(self) -> float:
        """How much of the first loss was learned, from 0 to 1; below that, the loss rose."""
        if not math.isfinite(self.last):
            return -math.inf
        return (self.first - self.last) / max(abs(self.first), 1e-12)


def fit_one_batch(subject: Subject) -> list[Fit]:
    """Train on a small batch at several rates, until one has learned it; the best fit is first."""
    fits: list[Fit] = []
    started = monotonic()
    for factor in _factors(fits, started + LONGEST_SECONDS):
        until = started + MOST_SECONDS * (len(fits) + 1)
        fits.append(_fit(subject, factor * subject.own_lr, until))
        if fits[-1].fell >= LEARNED:
            break
    return sorted(fits, key=lambda fit: -fit.fell)


def _factors(fits: Sequence[Fit], until: float) -> Iterator[float]:
    """What to multiply the target's own rate with next, after the fits so far."""
    yield from RATES
    for factor in HIGHER:
        if _best(fits) is not fits[-1] or monotonic() > until:
            break
        yield factor
    if _best(fits) is fits[0]:
        yield LOWER


def _best(fits: Sequence[Fit]) -> Fit:
    return max(fits, key=lambda fit: fit.fell)


def _fit(subject: Subject, lr: float, until: float) -> Fit:
    with subject.session([subject.small_batch]) as session:
        losses: list[float] = []
        while len(losses) < subject.settings.steps:
            session.step(lr)
            losses += session.losses(wait=True)
            subject.tick(f"lr {lr:.1e}, step {len(losses)}")
            if not math.isfinite(losses[-1]) or 0 <= losses[-1] < KNOWN_BY_HEART * losses[0]:
                break
            rises = fmean(losses[-TAIL:]) > losses[0]
            if len(losses) >= LEAST_STEPS and (rises or monotonic() > until):
                break
        modes: tuple[float, float] | Exception
        try:
            modes = _both_modes(subject, session)
        except Exception as error:  # of any type: to evaluate is something that the user's code has not done yet
            modes = error
        return Fit(lr, losses[0], fmean(losses[-min(TAIL, len(losses) - 1) :]), len(losses), modes)


@torch.no_grad()
def _both_modes(subject: Subject, session: Session) -> tuple[float, float]:
    """The loss of the batch in training mode and in evaluation mode, with these weights."""
    batch = to_device(subject.small_batch, session.device)
    if count_batch_norms(session.workload.model):
        for _ in range(SETTLING):
            session.loss(copied(batch))
    training = fmean(float(session.loss(copied(batch))) for _ in range(REPEATS))
    with eval_mode(session.workload.model):  # the same loss: that of held-out data may be another
        return training, float(session.loss(copied(batch)))


def count_batch_norms(model: nn.Module) -> int:
    """How many modules normalize with the mean and the variance of a batch."""
    return sum(isinstance(module, _BatchNorm) and module.training for module in model.modules())
