"""How long a comparison takes, and how to fit it into a time budget."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lrscout.search.comparison import MIN_SEEDS
from lrscout.search.training import evaluation_steps

TUNING_RUNS = 6  # per schedule: three rates with one seed, two of them with another, and some more if it is noisy
MIN_RUN_STEPS = 20  # with fewer, a schedule has no recognizable shape
USABLE_SHARE = 0.9  # of a budget, because timings of a few steps are too optimistic


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of the parts of a run, in seconds."""

    start: float  # building the workload and taking the first steps
    step: float
    evaluation: float

    def of_run(self, steps: int, evaluations: int) -> float:
        """How long a whole run takes, in seconds."""
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
        """How long the comparison takes, in seconds."""
        rounds = -(-runs_of(self.schedules, self.seeds, self.tuned) // self.jobs)
        return rounds * cost.of_run(self.steps, self.evaluations)


def runs_of(schedules: int, seeds: int, tuned: bool) -> int:
    """The number of runs in a comparison; the number of tuning runs is an estimate."""
    return schedules * (seeds + (TUNING_RUNS if tuned else 0))


def fit_to_budget(plan: Plan, cost: Cost, seconds: float) -> Plan:
    """Shrink a plan to fit into a time: first to fewer seeds, but at least three, then to fewer steps."""

    def fits(plan: Plan) -> bool:
        return plan.seconds(cost) <= USABLE_SHARE * seconds

    while plan.seeds > MIN_SEEDS and not fits(plan):
        plan = replace(plan, seeds=plan.seeds - 1)
    low, high = min(MIN_RUN_STEPS, plan.steps), plan.steps
    while low < high:  # find the most steps that fit
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(replace(plan, steps=middle)) else (low, middle - 1)
    return replace(plan, steps=low)
