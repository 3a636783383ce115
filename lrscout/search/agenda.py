"""Which run of a comparison is made when: none waits for what it does not need."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from lrscout.results import ComparedRun
from lrscout.search.budget import TUNING_RUNS
from lrscout.search.comparison import PlannedRun
from lrscout.search.tuning import TunedRate, Tuning


class Agenda:
    """The runs of a comparison: a schedule is scored as soon as its own rate is known.

    Runs that tune come first, since others wait for what they tell. Those that score take the places that are idle
    meanwhile, and are ordered by seed so that an interrupted comparison is still paired. One at a time, all that tune
    come before all that score.
    """

    def __init__(self, schedules: int, seeds: Sequence[int], tuning: Tuning | None, lr: float) -> None:
        """Without a tuning, all are scored at this rate."""
        self._schedules, self._seeds, self._tuning = schedules, seeds, tuning
        self._tune = tuning.first() if tuning is not None else []
        self._score: list[tuple[int, int, float]] = []  # a heap
        self._tuning_left = self._tuned = len(self._tune)  # runs that are planned: not ended, and all
        self._scored = 0
        self.rates = tuning.found if tuning is not None else dict.fromkeys(range(schedules), TunedRate(lr, None))
        for schedule in self.rates:
            self._plan_scores(schedule)

    def next(self, idle: int) -> list[PlannedRun]:
        """The runs to begin now, with so many places idle."""
        begun, self._tune = self._tune, []
        while self._score and (len(begun) < idle or not self._tuning_left):
            seed, schedule, lr = heapq.heappop(self._score)
            begun.append(PlannedRun(schedule, seed, lr, "score"))
        return begun

    def ended(self, plan: PlannedRun, run: ComparedRun) -> None:
        """Take in a run that has ended."""
        if self._tuning is None or plan.role == "score":
            self._scored += 1
            return
        more = self._tuning.ended(plan, run)
        self._tune += more
        self._tuned += len(more)
        self._tuning_left += len(more) - 1
        if plan.schedule in self.rates:
            self._plan_scores(plan.schedule)

    @property
    def is_tuned(self) -> bool:
        """Whether all rates are known."""
        return not self._tuning_left

    @property
    def left(self) -> int:
        """About how many runs have not ended."""
        expected = max(self._tuned, TUNING_RUNS * self._schedules) if self._tuning_left else self._tuned
        return expected - self._tuned + self._tuning_left + self._schedules * len(self._seeds) - self._scored

    def _plan_scores(self, schedule: int) -> None:
        for seed in self._seeds:
            heapq.heappush(self._score, (seed, schedule, self.rates[schedule].lr))
