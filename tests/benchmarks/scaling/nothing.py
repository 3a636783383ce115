"""A host whose runs do nothing, so that only what makes them costs anything."""

from __future__ import annotations

import math
from typing import Any

from lrscout.results import TrainingPoint, TrainingResult
from lrscout.runs.comparison.metric import metric_of
from lrscout.runs.comparison.requests import FinishedRun
from lrscout.schedules import parse_schedules
from lrscout.search.comparison import PlannedRun, scored
from lrscout.settings import CompareSchedulersSettings


class Nothing:
    """Answers a run with points that look like those of a real one."""

    def __init__(self, place: int, settings: CompareSchedulersSettings) -> None:
        self._specs, self._metric = parse_schedules(settings.schedules), metric_of(settings, False)

    def run(self, plan: PlannedRun, steps: int, jobs: int, on_point: Any) -> FinishedRun:
        losses = [2 * math.exp(-step / steps) + 0.01 * math.sin(plan.seed * step) for step in range(50)]
        points = tuple(TrainingPoint(step, plan.peak_lr, loss, None) for step, loss in enumerate(losses))
        result = TrainingResult(points, "ok", 0.0)
        return FinishedRun(scored(plan, self._specs[plan.schedule], result, self._metric, "x y"))
