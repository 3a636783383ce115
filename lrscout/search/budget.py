"""What a comparison costs, and how it is fitted into a time."""

from __future__ import annotations

from dataclasses import dataclass

from lrscout.search.comparison import LEAST_SEEDS
from lrscout.search.training import evaluation_steps

TUNING_RUNS = 6  # of a schedule: three rates with one seed, two of them with another, and what the noise asks for
LEAST_STEPS = 20  # of a run: below it, no schedule has a shape
USABLE_SHARE = 0.9  # of a budget: timings of a few steps promise too much


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of the parts of a run."""

    start: float  # building the workload, and the first steps
    step: float
    evaluation: float

    def of_run(self, steps: int, evaluations: int) -> float:
        """Seconds of a whole run."""
        return self.start + steps * self.step + len(evaluation_steps(steps, evaluations)) * self.evaluation


def runs_of(schedules: int, seeds: int, tuned: bool) -> int:
    """The runs of a comparison, about as many to tune as it takes."""
    return schedules * (seeds + (TUNING_RUNS if tuned else 0))


def fitted(
    seconds: float, cost: Cost, schedules: int, tuned: bool, jobs: int, evaluations: int, steps: int, seeds: int
) -> tuple[int, int]:
    """The steps and seeds that fit into this time: fewer seeds first, but at least three, then fewer steps."""

    def fits(steps: int, seeds: int) -> bool:
        rounds = -(-runs_of(schedules, seeds, tuned) // jobs)
        return rounds * cost.of_run(steps, evaluations) <= USABLE_SHARE * seconds

    while seeds > LEAST_SEEDS and not fits(steps, seeds):
        seeds -= 1
    low, high = min(LEAST_STEPS, steps), steps
    while low < high:  # the most steps that fit
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle, seeds) else (low, middle - 1)
    return low, seeds
