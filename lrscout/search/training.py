"""A short training run under a schedule: step, evaluate, and stop where it fails."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from statistics import fmean
from typing import Protocol

from lrscout.results import TrainingPoint, TrainingResult, TrainingStatus
from lrscout.search.statistics import ExponentialAverage

FINAL_SHARE = 0.05  # of a run: what is measured there is what the run has reached
SMOOTHING = 0.9  # weight of the past in the loss that is watched for divergence
STOP_FACTOR = 4.0  # diverged: so many times its own fall above its best, or times its first loss where it hardly fell
PATIENCE_SHARE = 0.1  # of the run: a rise that is over sooner was a spike (a warmup's end, a restart)
MIN_PATIENCE = 10  # steps


GivesUp = Callable[[Sequence[TrainingPoint]], bool]
"""Whether to end a run here, of its points so far."""


class Schedule(Protocol):
    """What a run needs of a schedule; lrscout.engine.schedulers makes one of any kind."""

    needs_metric: bool

    def before_step(self, step: int) -> float:
        """Set the rates of this step, counted from 0; returns the largest."""

    def after_evaluation(self, metric: float) -> None:
        """Take in an evaluation, smaller being better."""


class TrainingSession(Protocol):
    """What a run needs of a session; losses may arrive some steps after the step was taken."""

    def step(self) -> None:
        """Take one optimizer step at the rates that are set."""

    def losses(self, wait: bool = False) -> Sequence[float]:
        """The losses that arrived since the last call, in the steps' order; with `wait`, all that are due."""

    def evaluate(self) -> float | None:
        """The metric on held-out data as the weights are now; None where there is no such data."""


def final_steps(total: int) -> range:
    """The last 5 % of the steps, at least one."""
    return range(total - max(1, math.ceil(FINAL_SHARE * total)), total)


def evaluation_steps(total: int, count: int) -> frozenset[int]:
    """The steps after which a run is evaluated: `count` spread over its last 5 %, the last step among them."""
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
    """Train `total` steps under the schedule, and evaluate after the steps named.

    A loss that is not finite ends the run at once, one that stays far above its best ends it after a tenth, and
    `gives_up` where it says so.
    Where losses arrive late, the steps taken beyond the end are cut. A schedule that needs a metric gets the
    evaluations; without held-out data, the mean of the training losses since the last one.
    """
    course = _Course(total)
    rates: list[float] = []
    seen = 0  # losses that the schedule knows of
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


class _Course:
    """A run under way: its points so far, and whether it has failed."""

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
        """Record the next step and judge it."""
        point = TrainingPoint(len(self.points), lr, loss, val_loss)
        self.points.append(point)
        if not math.isfinite(loss) or (val_loss is not None and not math.isfinite(val_loss)):
            self.status = "non_finite"
            return point
        smoothed, first = self._average.update(loss), self.points[0].loss
        self._best = min(self._best, smoothed)
        # unlike in a sweep the first loss alone is of the untrained model: the next may have exploded already
        fall = max(first - self._best, abs(first))
        self._steps_above = self._steps_above + 1 if smoothed - self._best > STOP_FACTOR * fall else 0
        if self._steps_above >= self._patience:
            self.status = "diverged"
        return point
