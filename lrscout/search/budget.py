"""What a comparison costs, and how it is fitted into a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lrscout.search.comparison import MIN_SEEDS
from lrscout.search.training import evaluation_steps

TUNING_RUNS = 6  # of a schedule: three rates with one seed, two of them with another, and what the noise asks for
MIN_RUN_STEPS = 20  # of a run: below it, no schedule has a shape
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much a comparison does."""

    schedules: int
    seeds: int
    steps: int  # per run
    evaluations: int  # per run
    tuned: bool
    jobs: int  # runs at a time

    def seconds(self, cost: Cost) -> float:
        """How long the comparison takes."""
        rounds = -(-runs_of(self.schedules, self.seeds, self.tuned) // self.jobs)
        return rounds * cost.of_run(self.steps, self.evaluations)


def runs_of(schedules: int, seeds: int, tuned: bool) -> int:
    """The number of runs in a comparison; how many of them tune is an estimate."""
    return schedules * (seeds + (TUNING_RUNS if tuned else 0))


def fit_to_budget(plan: Plan, cost: Cost, seconds: float) -> Plan:
    """The plan with fewer seeds, but at least three, and then fewer steps, so that it takes no longer than this."""

    def fits(plan: Plan) -> bool:
        return plan.seconds(cost) <= USABLE_SHARE * seconds

    while plan.seeds > MIN_SEEDS and not fits(plan):
        plan = replace(plan, seeds=plan.seeds - 1)
    low, high = min(MIN_RUN_STEPS, plan.steps), plan.steps
    while low < high:  # find the most steps that fit
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(replace(plan, steps=middle)) else (low, middle - 1)
    return replace(plan, steps=low)
