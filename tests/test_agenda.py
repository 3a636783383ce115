"""The order of a comparison's runs: none waits for what it does not need."""

from __future__ import annotations

import math
import random

import pytest

from lrscout.results import ComparedRun
from lrscout.search.agenda import Agenda
from lrscout.search.tuning import Tuning

TUNING_SEEDS = (0, 100, 101)
BEST = (0.1, 0.9, 0.03)  # of the schedules; the second one is at an edge of the first grid


def run_of(plan):
    final = abs(math.log10(plan.peak_lr / BEST[plan.schedule])) + 0.01 * plan.seed
    return ComparedRun("a", "a", plan.seed, plan.peak_lr, plan.role, "ok", final, final, final, (), 1.0)


def agenda_of(seeds=(1, 2, 3), tuned=True):
    return Agenda(3, seeds, Tuning(3, 0.1, TUNING_SEEDS, lambda final: final) if tuned else None, 0.1)


def made(workers, tuned=True, chance=None):
    """All plans in the order in which they begin; those under way end in the order in which they began, or in any."""
    agenda, began, under_way = agenda_of(tuned=tuned), [], []
    while True:
        more = agenda.next(workers - len(under_way))
        began += more
        under_way += more
        assert agenda.left >= len(under_way)
        if not under_way:
            assert agenda.left == 0
            return began
        plan = under_way.pop(0 if chance is None else chance.randrange(min(workers, len(under_way))))
        agenda.ended(plan, run_of(plan))


def test_one_at_a_time_all_that_tunes_comes_first_and_scores_are_paired():
    plans = made(1)
    roles = [plan.role for plan in plans]
    assert roles == sorted(roles, reverse=True)
    assert [(plan.seed, plan.schedule) for plan in plans if plan.role == "score"] == [
        (seed, schedule) for seed in (1, 2, 3) for schedule in (0, 1, 2)
    ]


@pytest.mark.parametrize("workers", [2, 5, 64])
def test_whatever_ends_first_the_same_runs_are_made(workers):
    for number in range(20):
        assert sorted(made(workers, chance=random.Random(number)), key=repr) == sorted(made(1), key=repr)


def test_a_schedule_scores_in_idle_places_while_another_one_tunes():
    roles = [plan.role for plan in made(64)]
    assert roles.index("score") < len(roles) - 1 - roles[::-1].index("tune")


def test_no_score_takes_a_place_that_a_tuning_run_needs():
    agenda = agenda_of()
    assert [plan.role for plan in agenda.next(4)] == ["tune"] * 9
    assert agenda.next(0) == []


def test_without_tuning_all_are_scored_at_one_rate_at_once():
    plans = made(1, tuned=False)
    assert {(plan.peak_lr, plan.role) for plan in plans} == {(0.1, "score")}
    assert len(plans) == 9


def test_at_first_six_runs_are_expected_to_tune_each_schedule():
    assert agenda_of(seeds=(1, 2)).left == 3 * (6 + 2)
