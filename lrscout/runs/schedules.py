"""Schedules that set the rates in somebody else's program."""

from __future__ import annotations

from lrscout.processes.driving import AttachedSession
from lrscout.schedules import ScheduleSpec


class ProgramSchedule:
    """Sets the rates of a session in a program, without torch where the schedule is built in.

    Of other schedules only the rates at each step are used, as they are without evaluations; a momentum is not set.
    """

    def __init__(
        self, session: AttachedSession, spec: ScheduleSpec, peak: float, total: int, app_dir: str | None = None
    ) -> None:
        self._session, self._spec, self._peak, self._total = session, spec, peak, total
        self._metrics: list[float] = []
        self._table: list[float] | None = None
        self.needs_metric = spec.is_builtin and spec.needs_metric
        if not spec.is_builtin:
            from lrscout.engine.schedulers import multipliers  # here and not above: it brings torch

            self._table = multipliers(spec, total, app_dir)

    def before_step(self, step: int) -> float:
        if self._table is None:
            multiplier = self._spec(step, self._total, self._metrics)
        else:
            multiplier = self._table[min(step, self._total - 1)]
        lr = self._peak * multiplier
        self._session.set_lr(lr)
        return lr

    def after_evaluation(self, metric: float) -> None:
        self._metrics.append(metric)
