"""A short training run under a schedule, which ends early if it fails."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from statistics import fmean
from typing import NoReturn, Protocol

from lrscout.results import TrainingPoint, TrainingResult, TrainingStatus
from lrscout.search.statistics import ExponentialAverage

FINAL_SHARE = 0.05  # of a run; its result is measured over these last steps
SMOOTHING = 0.9  # weight of the past in the loss that is checked for divergence
STOP_FACTOR = 4.0  # times its fall (or its first loss, if larger): a loss that far above its best is too high
PATIENCE_SHARE = 0.1  # of the run; a shorter rise is just a spike, as after a warmup or a restart
MIN_PATIENCE = 10  # steps
METRICS = 20  # means of the training loss that a schedule gets over a run, if it needs a metric and nothing evaluates


GivesUp = Callable[[Sequence[TrainingPoint]], bool]
"""Decides from the points so far whether to end a run."""


class Schedule(Protocol):
    """What a run needs from a schedule; lrscout.engine.schedulers turns any scheduler into one."""

    needs_metric: bool

    def before_step(self, step: int) -> float:
        """Set the rates for this step, counted from 0, and return the largest."""

    def after_evaluation(self, metric: float) -> None:
        """Report a metric, where smaller is better."""


class TrainingSession(Protocol):
    """What a run needs from a session. Losses may arrive a few steps late."""

    def step(self) -> None:
        """Take one optimizer step at the current rates."""

    def losses(self, wait: bool = False) -> Sequence[float]:
        """The losses that have arrived since the last call, in order; with `wait`, all outstanding ones."""

    def evaluate(self) -> float | None:
        """The metric on held-out data with the current weights; None if there is no such data."""


class OpenEndedSession(TrainingSession, Protocol):
    """A session in a program that decides itself when it ends, which raises."""

    def arrived(self) -> Sequence[float]:
        """The losses that are here since the last call; those of the last steps too once the program has ended."""


def final_steps(total: int) -> range:
    """The last 5% of the steps, at least one."""
    return range(total - max(1, math.ceil(FINAL_SHARE * total)), total)


def evaluation_steps(total: int, count: int) -> frozenset[int]:
    """The `count` steps to evaluate after, spread evenly over the last 5% of the run and including the last step."""
    window = final_steps(total)
    count = min(count, len(window))
    return frozenset(window[-1] - i * len(window) // count for i in range(count))


def run_training(
    session: TrainingSession,
    schedule: Schedule,
    total: int,
    evaluate_after: Collection[int] = (),
    *,
    larger_is_better: bool = False,
    on_point: Callable[[TrainingPoint], None] | None = None,
    gives_up: GivesUp | None = None,
) -> TrainingResult:
    """Train for `total` steps under the schedule, and evaluate after the steps in `evaluate_after`.

    A non-finite loss ends the run at once. So does `gives_up`, and a loss that stays far above its best for a tenth of
    the run. If losses arrive late, any steps taken after the last one are discarded. A schedule that needs a metric
    gets each evaluation or, without held-out data, the mean training loss since the previous one.
    """
    course = _Course(total)
    rates: list[float] = []
    seen = 0  # number of losses that the schedule has been told about
    started = time.perf_counter()
    for step in range(total):
        rates.append(schedule.before_step(step))
        session.step()
        evaluates = step in evaluate_after
        losses = session.losses(wait=evaluates or step == total - 1)
        value = session.evaluate() if evaluates else None
        for loss in losses:
            number = len(course.points)
            point = course.add(rates[number], loss, value if number == step else None)
            if on_point is not None:
                on_point(point)
            if course.status is None and gives_up is not None and gives_up(course.points):
                course.status = "given_up"
            if course.status is not None:
                return TrainingResult(tuple(course.points), course.status, time.perf_counter() - started)
        if evaluates and schedule.needs_metric:
            metric = value if value is not None else fmean(point.loss for point in course.points[seen:])
            schedule.after_evaluation(-metric if larger_is_better and value is not None else metric)
            seen = len(course.points)
    return TrainingResult(tuple(course.points), course.status_at_end, time.perf_counter() - started)


def follow_training(
    session: OpenEndedSession, schedule: Schedule, total: int, on_step: Callable[[float, float], None]
) -> NoReturn:
    """Train under a schedule of `total` steps, then on at its last rate, until the program ends, which raises.

    `on_step` receives the rate and the loss of each step. Nothing ends the training early: it is somebody's real one.
    """
    rates: deque[float] = deque()  # of the steps whose losses are still to come
    total_loss, losses = 0.0, 0  # since the schedule was given a metric
    every = max(1, total // METRICS)

    def report(arrived: Sequence[float]) -> None:
        nonlocal total_loss, losses
        for loss in arrived:
            total_loss, losses = total_loss + loss, losses + 1
            on_step(rates.popleft(), loss)

    try:
        step = 0
        while True:
            rates.append(schedule.before_step(step))
            session.step()
            evaluates = schedule.needs_metric and step < total and (step + 1) % every == 0
            report(session.losses(wait=evaluates))
            if evaluates:
                schedule.after_evaluation(total_loss / losses)
                total_loss, losses = 0.0, 0
            step += 1
    finally:
        report(session.arrived())


class _Course:
    """A run in progress: its points so far, and whether it has failed."""

    def __init__(self, total: int) -> None:
        self.points: list[TrainingPoint] = []
        self.status: TrainingStatus | None = None
        self._average = ExponentialAverage(SMOOTHING)
        self._best = math.inf
        self._patience = max(MIN_PATIENCE, math.ceil(PATIENCE_SHARE * total))
        self._steps_above = 0

    @property
    def status_at_end(self) -> TrainingStatus:
        return "diverged" if self._steps_above else "ok"

    def add(self, lr: float, loss: float, val_loss: float | None) -> TrainingPoint:
        """Add the next step, and decide whether the run has failed."""
        point = TrainingPoint(len(self.points), lr, loss, val_loss)
        self.points.append(point)
        if not math.isfinite(loss) or (val_loss is not None and not math.isfinite(val_loss)):
            self.status = "non_finite"
            return point
        smoothed, first = self._average.update(loss), self.points[0].loss
        self._best = min(self._best, smoothed)
        # unlike in a sweep, only the first loss is that of the untrained model: the second may already have exploded
        fall = max(first - self._best, abs(first))
        self._steps_above = self._steps_above + 1 if smoothed - self._best > STOP_FACTOR * fall else 0
        if self._steps_above >= self._patience:
            self.status = "diverged"
        return point
