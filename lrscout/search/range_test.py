"""The learning-rate range test: raise the rate step by step until the loss diverges.

Source: Smith (2017), https://arxiv.org/abs/1506.01186.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from lrscout.results import StopReason, SweepPoint, SweepResult
from lrscout.search.statistics import ExponentialAverage, noise_level

INITIAL_STEPS = 5  # the mean of the first losses is the loss before anything was learned
NOISE_FACTOR = 3.0  # a fall of less than three standard deviations of the noise does not count
RELATIVE_FLOOR = 1e-3  # nor does a fall of less than this share of the initial loss, which may have no noise


class SweepSession(Protocol):
    """What a sweep needs from a training session. Losses may arrive a few steps late."""

    def step(self, lr: float) -> None:
        """Take one optimizer step at this rate."""

    def losses(self, wait: bool = False) -> Sequence[float]:
        """The losses that have arrived since the last call, in order; with `wait`, all outstanding ones."""


def learning_rates(min_lr: float, max_lr: float, steps: int, spacing: str = "exponential") -> tuple[float, ...]:
    """`steps` rates from `min_lr` to `max_lr`, both included, spaced exponentially or linearly."""
    if steps == 1:
        return (min_lr,)
    shares = [i / (steps - 1) for i in range(steps)]
    if spacing == "linear":
        rates = [min_lr + (max_lr - min_lr) * share for share in shares]
    else:
        rates = [min_lr * (max_lr / min_lr) ** share for share in shares]
    return (*rates[:-1], max_lr)


class DivergenceRule:
    """Decides when a loss that fell has risen too far.

    The loss has diverged once its smoothed value exceeds its best by `factor` times the fall (initial - best). Relative
    to the fall instead of the best loss, the rule works for negative losses, too. Before anything has been learned, the
    fall is pure noise, so it counts as no less than the noise.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._first: list[float] = []  # the raw losses that the noise is measured on
        self._best = math.inf
        self._initial = math.nan  # the loss before anything was learned
        self._least_fall = math.inf  # the largest fall that may be noise or rounding

    def diverged(self, loss: float, smoothed_loss: float) -> bool:
        """Add a finite loss, and return whether the sweep has diverged."""
        self._best = min(self._best, smoothed_loss)
        if len(self._first) < 2 * INITIAL_STEPS:
            self._first.append(loss)
            if len(self._first) < INITIAL_STEPS:
                return False  # too few to distinguish a rise from noise
            self._initial = sum(self._first[:INITIAL_STEPS]) / INITIAL_STEPS  # fmean raises if the sum overflows
            noise = NOISE_FACTOR * noise_level(self._first)
            self._least_fall = max(noise, RELATIVE_FLOOR * abs(self._initial))
        return smoothed_loss - self._best > self._factor * max(self._initial - self._best, self._least_fall)


class Sweep:
    """A sweep in progress: turns rates and losses into points, and decides when to stop."""

    def __init__(self, smoothing: float, stop_factor: float | None) -> None:
        self.points: list[SweepPoint] = []
        self.stop_reason: StopReason | None = None
        self._average = ExponentialAverage(smoothing)
        self._rule = None if stop_factor is None else DivergenceRule(stop_factor)

    def add(self, lr: float, loss: float) -> SweepPoint:
        """Add the loss of the next step, and decide whether it is the last."""
        smoothed = self._average.update(loss)
        point = SweepPoint(len(self.points), lr, loss, smoothed)
        self.points.append(point)
        if not math.isfinite(loss):
            self.stop_reason = "non_finite"
        elif self._rule is not None and self._rule.diverged(loss, smoothed):
            self.stop_reason = "diverged"
        return point


def run_range_test(
    session: SweepSession,
    rates: Sequence[float],
    *,
    smoothing: float,
    stop_factor: float | None,
    on_point: Callable[[SweepPoint], None] | None = None,
) -> SweepResult:
    """Step the session once at every rate until the loss diverges.

    Without a `stop_factor`, only a non-finite loss ends the sweep early. If losses arrive late, any steps taken after
    the last one are discarded. Ctrl-C ends the sweep and keeps what was measured.
    """
    sweep = Sweep(smoothing, stop_factor)
    started = time.perf_counter()
    try:
        for lr, loss in zip(rates, _measured(session, rates)):
            point = sweep.add(lr, loss)
            if on_point is not None:
                on_point(point)
            if sweep.stop_reason is not None:
                break
        reason = sweep.stop_reason or "completed"
    except KeyboardInterrupt:
        reason = "interrupted"
    return SweepResult(tuple(sweep.points), reason, time.perf_counter() - started)


def _measured(session: SweepSession, rates: Sequence[float]) -> Iterator[float]:
    """Yield the loss at every rate, in order, as it arrives."""
    for taken, lr in enumerate(rates, 1):
        session.step(lr)
        yield from session.losses(wait=taken == len(rates))
