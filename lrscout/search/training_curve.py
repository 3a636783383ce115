"""The losses of a training of any length in a bounded number of points."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lrscout.results import TrainingPoint
from lrscout.search.training import final_steps

KEPT_POINTS = 2000  # at most; more than any plot can show, and a record of some 200 kB


class TrainingCurve:
    """Takes in the losses of a training step by step, and thins them as it goes.

    Each point stands at the last of a stretch of steps, with their mean loss. All stretches are equally long, a power
    of two, but for the last one, which may be shorter.
    """

    def __init__(self, most: int = KEPT_POINTS) -> None:
        assert most >= 2
        self.steps = 0
        self.first_loss = math.nan
        self._most = most - most % 2
        self._full: list[TrainingPoint] = []
        self._stretch = 1  # steps per point
        self._sum = 0.0  # over the stretch under way
        self._lr = math.nan

    def add(self, lr: float, loss: float) -> None:
        """Add the next step."""
        if not self.steps:
            self.first_loss = loss
        self.steps += 1
        self._sum, self._lr = self._sum + loss, lr
        if self.steps % self._stretch == 0:
            self._full.append(self._last(self._stretch))
            self._sum = 0.0
            if len(self._full) == self._most:
                self._full = [_joined(*pair) for pair in zip(self._full[::2], self._full[1::2])]
                self._stretch *= 2

    @property
    def points(self) -> tuple[TrainingPoint, ...]:
        """The points so far."""
        begun = self.steps % self._stretch
        return (*self._full, self._last(begun)) if begun else tuple(self._full)

    def _last(self, steps: int) -> TrainingPoint:
        return TrainingPoint(self.steps - 1, self._lr, self._sum / steps)


def _joined(first: TrainingPoint, second: TrainingPoint) -> TrainingPoint:
    """The point of two stretches that are equally long."""
    return TrainingPoint(second.step, second.lr, (first.loss + second.loss) / 2)


def final_loss(points: Sequence[TrainingPoint]) -> float:
    """The mean loss over the last 5% of the steps: nan without points."""
    if not points:
        return math.nan
    start = final_steps(points[-1].step + 1).start
    total, steps, before = 0.0, 0, -1
    for point in points:
        counted = point.step - max(before, start - 1)
        before = point.step
        if counted > 0:
            total, steps = total + counted * point.loss, steps + counted
    return total / steps
