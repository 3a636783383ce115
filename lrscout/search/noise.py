"""The gradient noise scale: up to which batch size a larger batch saves steps.

Source: McCandlish et al. (2018), https://arxiv.org/abs/1812.06162.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from time import perf_counter
from typing import NamedTuple, Protocol

from lrscout.results import GradientNoise, NoiseMoment

FIRST_STEPS = 20  # before the first measurement: the gradients of an untrained model say little
LAST_STEPS = 320  # of training at most
STILL_FALLS = 0.1  # of the fall of the loss so far: where a model has learned its data, the noise knows no bounds
LEAST_BATCHES, MOST_BATCHES = 8, 64  # whose gradients are compared
BATCH = 64  # samples of a gradient, if so many fit
WANTED_SAMPLES = 1024  # to compare gradients of, unless that takes more than MOST_BATCHES
TRAINING_SHARE = 0.4  # of the time, for the steps before the first measurement
STILL = 1e-6  # of the rate, while gradients of the same weights are collected: some optimizers divide by the rate
EPOCH_STEPS = 16  # the scale is at most the size at which so many steps make an epoch: few samples look alike soon
RESOLVED = 4.0  # times the samples that were compared: a larger noise scale cannot be told from any other


class GradientSums(NamedTuple):
    """What the gradients of several equal batches add up to, all at the same weights."""

    batches: int
    squares: float  # the sum of their squared norms
    square: float  # the squared norm of their sum


class NoisySession(Protocol):
    """A session that takes steps, and can add up their gradients."""

    def step(self, lr: float | None = None) -> None:
        """Take one optimizer step at rate `lr`."""

    def losses(self, wait: bool = False) -> list[float]:
        """The losses that arrived since the last call; with `wait`, all."""

    def begin_gradients(self) -> None:
        """Add up the gradients of the steps from now on."""

    def end_gradients(self) -> tuple[int, float, float]:
        """The GradientSums since `begin_gradients`."""


def noise_scale(sums: GradientSums, samples: int) -> float | None:
    """tr(Sigma) / |G|^2 from gradients of so many samples each; None if |G|^2 cannot be told from 0.

    The mean product of two different gradients estimates |G|^2 without bias. What their squared norms exceed it by is
    the variance of a gradient, which is that of a sample divided by `samples` (McCandlish et al., appendix A.1).
    """
    if sums.batches < 2:
        return None
    signal = (sums.square - sums.squares) / (sums.batches * (sums.batches - 1))
    variance = max(0.0, sums.squares / sums.batches - signal)
    noise = samples * variance / signal if signal > 0 else math.inf
    return noise if noise <= RESOLVED * samples * sums.batches else None


def measured_moments(
    session: NoisySession,
    lr: float,
    samples: int,
    seconds: float,
    clock: Callable[[], float] = perf_counter,
) -> Iterator[NoiseMoment]:
    """Train at `lr` with so many samples a step, and measure after 20, 40, 80, ... steps, while the loss falls.

    Where the time is too short for a single measurement, the first one comes earlier or looks at fewer batches. There
    is none if even that would take longer, or if the loss is not finite.
    """
    moments: list[NoiseMoment] = []
    wanted = max(LEAST_BATCHES, min(MOST_BATCHES, -(-WANTED_SAMPLES // samples)))
    session.step(lr)  # the first step takes longer than all others
    initial = session.losses(wait=True)[0]
    started = clock()
    step, taken = 1, 0
    while step < LAST_STEPS and falls(initial, [each.loss for each in moments]):
        target, first = max(FIRST_STEPS, 2 * step), not moments
        if not first and (clock() - started) * (1 + (target - step + wanted) / taken) > seconds:
            break
        while step < target and not (first and taken and clock() - started > TRAINING_SHARE * seconds):
            session.step(lr)
            session.losses()
            step, taken = step + 1, taken + 1
        session.losses(wait=True)
        spent = clock() - started
        count = wanted if not first else min(wanted, int((seconds - spent) / max(spent / taken, 1e-9)))
        if count < LEAST_BATCHES:
            break
        loss, sums = _gradients(session, STILL * lr, count)
        taken += count
        if not (math.isfinite(loss) and math.isfinite(sums.squares)):
            break
        moments.append(NoiseMoment(step, loss, noise_scale(sums, samples), samples * sums.batches))
        yield moments[-1]


def falls(initial: float, losses: Sequence[float]) -> bool:
    """Whether the last loss is lower than the one before by a tenth of the whole fall; True for fewer than two."""
    if len(losses) < 2:
        return True
    return losses[-2] - losses[-1] >= STILL_FALLS * (initial - losses[-1]) > 0


def _gradients(session: NoisySession, lr: float, count: int) -> tuple[float, GradientSums]:
    """The mean loss of so many batches, and the sums of their gradients."""
    session.begin_gradients()
    for _ in range(count):
        session.step(lr)
    losses = session.losses(wait=True)
    return sum(losses) / max(1, len(losses)), GradientSums(*session.end_gradients())


def summarized(batch_size: int, moments: Sequence[NoiseMoment], dataset: int | None) -> GradientNoise | None:
    """The noise scale of a training on so many samples, from its moments; None if there are none.

    It is their median, since the noise grows in training, and at most a sixteenth of the data set.
    """
    if not moments:
        return None
    values = [RESOLVED * each.samples if each.noise is None else each.noise for each in moments]
    scale = max(1.0, median(values))
    largest = math.inf if dataset is None else dataset / EPOCH_STEPS
    known = [each.noise for each in moments if each.noise is not None]
    return GradientNoise(
        batch_size, tuple(moments), min(scale, largest), is_bound=scale > max(known, default=0.0) and scale < largest
    )
