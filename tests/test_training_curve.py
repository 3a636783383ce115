"""The thinning of a training's losses: what is kept of a training of any length."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscout.results import TrainingPoint
from lrscout.search.training_curve import KEPT_POINTS, TrainingCurve, final_loss

LOSSES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)
MOST = st.integers(2, 20)


def curve_of(losses: list[float], most: int) -> TrainingCurve:
    curve = TrainingCurve(most)
    for step, loss in enumerate(losses):
        curve.add(0.1 * step, loss)
    return curve


def stretches(points: tuple[TrainingPoint, ...]) -> list[int]:
    """The number of steps that each point stands for."""
    return [b - a for a, b in pairwise([-1, *(point.step for point in points)])]


@given(LOSSES, MOST)
def test_there_are_never_more_points_than_asked_for_and_they_span_all_steps(losses, most):
    points = curve_of(losses, most).points
    assert 1 <= len(points) <= most
    assert points[-1].step == len(losses) - 1


@given(LOSSES, MOST)
def test_all_stretches_but_the_last_are_one_power_of_two(losses, most):
    *full, last = stretches(curve_of(losses, most).points)
    assert len(set(full)) <= 1
    assert all(math.log2(length).is_integer() for length in full)
    assert all(1 <= last <= length for length in full)


@given(LOSSES, MOST)
def test_each_point_has_the_mean_loss_of_its_stretch_and_the_rate_of_its_last_step(losses, most):
    start = 0
    for point in curve_of(losses, most).points:
        part = losses[start : point.step + 1]
        assert point.loss == pytest.approx(sum(part) / len(part), rel=1e-9, abs=1e-6)
        assert point.lr == 0.1 * point.step
        start = point.step + 1


@given(LOSSES)
def test_a_short_training_is_kept_as_it_is(losses):
    curve = curve_of(losses, 1000)
    assert [point.loss for point in curve.points] == losses
    assert (curve.steps, curve.first_loss) == (len(losses), losses[0])


@given(LOSSES, MOST)
def test_the_final_loss_is_the_mean_of_the_last_steps_as_far_as_the_points_tell(losses, most):
    final = final_loss(curve_of(losses, most).points)
    assert min(losses) - 1e-6 <= final <= max(losses) + 1e-6
    last = losses[-math.ceil(0.05 * len(losses)) :]
    assert final_loss(curve_of(losses, 1000).points) == pytest.approx(sum(last) / len(last), rel=1e-9, abs=1e-6)


def test_a_million_steps_leave_no_more_than_the_points_that_are_kept():
    curve = TrainingCurve()
    for step in range(10**6):
        curve.add(1.0, 2.0 if step < 900_000 else 1.0)
    assert KEPT_POINTS / 2 <= len(curve.points) <= KEPT_POINTS
    assert final_loss(curve.points) == 1.0
    assert curve.first_loss == 2.0


def test_a_loss_that_is_not_finite_is_seen_and_spoils_its_stretch_alone():
    points = curve_of([1.0, math.nan, 1.0, 1.0, math.inf, 1.0, 1.0, 1.0], 6).points
    assert [math.isfinite(point.loss) for point in points] == [False, True, False, True]
    assert math.isnan(final_loss(()))
