"""Training runs with fake sessions: what is measured, when it is evaluated, and when a run has failed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscout.results import TrainingPoint
from lrscout.search.training import evaluation_steps, final_steps, run_training


class FakeSession:
    """Losses as they are given, each `late` steps after its own; evaluates to minus the steps taken."""

    def __init__(self, losses, late=0, held_out=True):
        self._losses, self._late, self._held_out = list(losses), late, held_out
        self.taken = self._given = self.evaluations = 0

    def step(self):
        self.taken += 1

    def losses(self, wait=False):
        ready = self.taken if wait else max(self.taken - self._late, self._given)
        arrived = self._losses[self._given : ready]
        self._given = ready
        return arrived

    def evaluate(self):
        self.evaluations += 1
        return -float(self.taken) if self._held_out else None


class FakeSchedule:
    needs_metric = False

    def __init__(self):
        self.metrics = []

    def before_step(self, step):
        return 1.0 / (step + 1)

    def after_evaluation(self, metric):
        self.metrics.append(metric)


class NeedsMetric(FakeSchedule):
    needs_metric = True


def falling(count):
    return [math.exp(-i / 20) + 0.01 * (i % 2) for i in range(count)]


@pytest.mark.parametrize("late", [0, 1, 7, 100])
def test_a_run_gives_every_step_its_rate_its_loss_and_its_evaluation(late):
    losses = falling(40)
    result = run_training(FakeSession(losses, late), FakeSchedule(), 40, {19, 39})
    assert result.status == "ok"
    assert result.points == tuple(
        TrainingPoint(i, 1 / (i + 1), loss, -float(i + 1) if i in (19, 39) else None) for i, loss in enumerate(losses)
    )


def test_a_run_is_evaluated_where_it_was_asked_for_and_nowhere_else():
    session = FakeSession(falling(100))
    run_training(session, FakeSchedule(), 100, evaluation_steps(100, 3))
    assert session.evaluations == 3


def test_a_loss_that_is_not_finite_ends_the_run():
    session = FakeSession([*falling(30), math.nan, *falling(30)])
    result = run_training(session, FakeSchedule(), 61)
    assert (result.status, len(result.points), session.taken) == ("non_finite", 31, 31)


def test_an_evaluation_that_is_not_finite_ends_the_run():
    session = FakeSession(falling(30))
    session.evaluate = lambda: math.inf
    result = run_training(session, FakeSchedule(), 30, {9})
    assert (result.status, len(result.points)) == ("non_finite", 10)


def test_steps_taken_beyond_the_end_of_a_failed_run_are_cut():
    session = FakeSession([*falling(30), math.nan, *falling(30)], late=5)
    result = run_training(session, FakeSchedule(), 61)
    assert (len(result.points), session.taken) == (31, 36)


def test_a_loss_that_stays_far_above_its_best_has_diverged():
    result = run_training(FakeSession([*falling(100), *[50.0] * 100]), FakeSchedule(), 200)
    assert result.status == "diverged"
    assert len(result.points) < 150


def test_a_spike_that_comes_back_has_not_diverged():
    losses = [*falling(50), 40.0, *falling(150)]
    assert run_training(FakeSession(losses), FakeSchedule(), 201).status == "ok"


def test_a_loss_that_explodes_at_the_first_step_has_diverged_though_it_falls_from_there():
    losses = [2.3, *(1e4 * math.exp(-i / 10) + 50 for i in range(99))]
    assert run_training(FakeSession(losses), FakeSchedule(), 100).status == "diverged"


def test_a_loss_that_moves_around_zero_has_not_diverged():
    losses = [0.01, *(3 * math.sin(i) for i in range(1, 200))]
    assert run_training(FakeSession(losses), FakeSchedule(), 200).status == "ok"


def test_a_run_that_ends_far_above_its_best_has_diverged_however_short_that_lasted():
    assert run_training(FakeSession([*falling(197), 50.0, 50.0, 50.0]), FakeSchedule(), 200).status == "diverged"


def test_a_schedule_that_needs_a_metric_gets_the_evaluations():
    schedule, other = NeedsMetric(), FakeSchedule()
    run_training(FakeSession(falling(30)), schedule, 30, {9, 19, 29})
    run_training(FakeSession(falling(30)), other, 30, {9, 19, 29})
    assert schedule.metrics == [-10, -20, -30]
    assert other.metrics == []


def test_a_metric_of_which_more_is_better_reaches_the_schedule_with_its_sign_turned():
    schedule = NeedsMetric()
    run_training(FakeSession(falling(30)), schedule, 30, {9, 19}, larger_is_better=True)
    assert schedule.metrics == [10, 20]


def test_without_held_out_data_the_metric_is_the_mean_loss_since_the_last():
    schedule = NeedsMetric()
    run_training(FakeSession([4.0, 2.0, 3.0, 1.0], held_out=False), schedule, 4, {1, 3}, larger_is_better=True)
    assert schedule.metrics == [3.0, 2.0]


@given(st.integers(1, 5000), st.integers(1, 50))
def test_evaluations_lie_in_the_last_five_percent_and_end_with_the_last_step(total, count):
    steps, window = evaluation_steps(total, count), final_steps(total)
    assert steps <= set(window)
    assert max(steps) == total - 1
    assert len(steps) == min(count, len(window))
    assert len(window) == max(1, math.ceil(total / 20))
