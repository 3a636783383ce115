"""The learning-rate range test: raise the rate, watch the loss, stop where it diverges.

Source: Smith (2017), https://arxiv.org/abs/1506.01186.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from lrscout.results import StopReason, SweepPoint, SweepResult
from lrscout.search.statistics import ExponentialAverage, noise_level

INITIAL_STEPS = 5  # the loss before anything was learned is the mean of so many first losses
NOISE_FACTOR = 3.0  # a fall of less than three deviations of the noise counts as no fall
RELATIVE_FLOOR = 1e-3  # nor does a fall of less than this share of the initial loss (a loss without any noise)


class SweepSession(Protocol):
    """What a sweep needs of a training session; losses may arrive some steps after the step was taken."""

    def step(self, lr: float) -> None:
        """Take one optimizer step at this rate."""

    def losses(self, wait: bool = False) -> Sequence[float]:
        """The losses that arrived since the last call, in the steps' order; with `wait`, all that are due."""


def learning_rates(min_lr: float, max_lr: float, steps: int, spacing: str = "exponential") -> tuple[float, ...]:
    """`steps` rates from `min_lr` to `max_lr`, both included, spaced evenly in the logarithm or linearly."""
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

    Diverged: the smoothed loss stands `factor` times the fall (initial - best) above its best. Measured by the
    fall and not by the best loss itself, it also holds for negative losses. Before anything was learned the
    fall is nothing but noise, so the noise is its least value.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._first: list[float] = []  # raw losses up to the first point where noise can be told
        self._best = math.inf
        self._initial = math.nan  # the loss before anything was learned
        self._least_fall = math.inf  # what noise and rounding may look like

    def diverged(self, loss: float, smoothed_loss: float) -> bool:
        """Take one more finite loss."""
        self._best = min(self._best, smoothed_loss)
        if len(self._first) < 2 * INITIAL_STEPS:
            self._first.append(loss)
            if len(self._first) < INITIAL_STEPS:
                return False  # too few to tell a rise from noise
            self._initial = sum(self._first[:INITIAL_STEPS]) / INITIAL_STEPS  # fmean raises where the sum overflows
            noise = NOISE_FACTOR * noise_level(self._first)
            self._least_fall = max(noise, RELATIVE_FLOOR * abs(self._initial))
        return smoothed_loss - self._best > self._factor * max(self._initial - self._best, self._least_fall)


class Sweep:
    """A sweep under way: turns rates and losses into points, and knows when it is over."""

    def __init__(self, smoothing: float, stop_factor: float | None) -> None:
        self.points: list[SweepPoint] = []
        self.stop_reason: StopReason | None = None
        self._average = ExponentialAverage(smoothing)
        self._rule = None if stop_factor is None else DivergenceRule(stop_factor)

    def add(self, lr: float, loss: float) -> SweepPoint:
        """Record the next step's loss and judge it."""
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

    `stop_factor` None: only a loss that is not finite ends the sweep early. Where losses arrive late, the steps
    taken beyond the end are cut. Ctrl-C ends the sweep with what was measured.
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
    """The loss at every rate, in order, as it arrives."""
    for taken, lr in enumerate(rates, 1):
        session.step(lr)
        yield from session.losses(wait=taken == len(rates))
