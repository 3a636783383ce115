"""The sweep: its rates, when it stops and why, and losses that arrive late."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscout.search.range_test import DivergenceRule, learning_rates, run_range_test

RATES = learning_rates(1e-5, 10.0, 60)


class FakeSession:
    """Gives the loss that a function of the rate says, `late` steps after the step."""

    def __init__(self, loss, late=0):
        self._loss, self._late, self._pending = loss, late, []
        self.rates = []

    def step(self, lr):
        self.rates.append(lr)
        self._pending.append(self._loss(lr))

    def losses(self, wait=False):
        ready = len(self._pending) if wait else max(0, len(self._pending) - self._late)
        given, self._pending = self._pending[:ready], self._pending[ready:]
        return given


def sweep(loss, late=0, rates=RATES, smoothing=0.9, stop_factor=4.0, **more):
    return run_range_test(FakeSession(loss, late), rates, smoothing=smoothing, stop_factor=stop_factor, **more)


def listed(losses):
    """The losses one after another, whatever the rate."""
    following = iter(losses)
    return lambda lr: next(following)


def falls_then_explodes(lr):
    return 2.3 / (1 + 50 * lr) + 0.5 + (20 * lr) ** 3


# Rates


@pytest.mark.parametrize("spacing", ["exponential", "linear"])
@given(st.floats(1e-10, 1e-2), st.floats(1.5, 1e8), st.integers(2, 300))
def test_rates_rise_from_exactly_the_first_to_exactly_the_last(spacing, low, ratio, steps):
    rates = learning_rates(low, low * ratio, steps, spacing)
    assert len(rates) == steps
    assert (rates[0], rates[-1]) == (low, low * ratio)
    assert all(a < b for a, b in itertools.pairwise(rates))


def test_the_last_rate_is_exact_where_the_power_rounds():
    assert 1e-5 * (0.36 / 1e-5) ** 1.0 != 0.36
    assert learning_rates(1e-5, 0.36, 100)[-1] == 0.36


def test_exponential_rates_keep_their_ratio():
    assert learning_rates(1e-4, 1.0, 5) == pytest.approx((1e-4, 1e-3, 1e-2, 1e-1, 1.0))


def test_linear_rates_keep_their_difference():
    assert learning_rates(0.1, 0.5, 5, "linear") == pytest.approx((0.1, 0.2, 0.3, 0.4, 0.5))


def test_a_single_rate_is_the_first():
    assert learning_rates(0.1, 0.5, 1) == (0.1,)


# Points and stops


def test_every_point_holds_its_rate_the_raw_and_the_smoothed_loss():
    result = sweep(listed([4.0, 2.0, 3.0]), rates=(0.1, 0.2, 0.3), smoothing=0.5)
    assert [(p.step, p.lr, p.loss) for p in result.points] == [(0, 0.1, 4.0), (1, 0.2, 2.0), (2, 0.3, 3.0)]
    assert [p.smoothed_loss for p in result.points] == pytest.approx([4.0, 8 / 3, 20 / 7])
    assert result.steps == 3


def test_a_sweep_that_does_not_diverge_completes_at_the_last_rate():
    result = sweep(lambda lr: 2.0 / (1 + lr))
    assert (result.stop_reason, result.points[-1].lr) == ("completed", 10.0)


def test_a_sweep_stops_where_the_loss_explodes():
    result = sweep(falls_then_explodes)
    assert result.stop_reason == "diverged"
    assert 0.05 < result.points[-1].lr < 1.0


@pytest.mark.parametrize("shift", [0.0, -0.5, -2.8, -1000.0])
def test_the_stop_does_not_depend_on_the_sign_of_the_loss(shift):
    # "loss > k * best" is always true once the loss is negative (fastai 962)
    expected = sweep(falls_then_explodes).steps
    assert sweep(lambda lr: falls_then_explodes(lr) + shift).steps == expected


@given(st.floats(1e-3, 1e3))
def test_the_stop_does_not_depend_on_the_scale_of_the_loss(scale):
    assert sweep(lambda lr: scale * falls_then_explodes(lr)).steps == sweep(falls_then_explodes).steps


def test_a_loss_that_begins_far_above_zero_does_not_stop_at_once():
    # a best loss that begins at zero (Lightning 4846) stops at the first steps
    assert sweep(lambda lr: 1e4 - lr).stop_reason == "completed"


def test_a_best_loss_of_zero_does_not_stop_the_sweep():
    assert sweep(listed([1.0] * 20 + [0.0] * 40)).stop_reason == "completed"


@pytest.mark.parametrize("seed", range(50))
def test_noise_before_anything_was_learned_is_no_divergence(seed):
    r = random.Random(seed)
    assert sweep(lambda lr: 2.3 + r.gauss(0, 0.5)).stop_reason == "completed"


def test_a_tiny_wobble_of_a_loss_without_noise_is_no_divergence():
    assert sweep(listed([2.0] * 10 + [2.001, 2.002] * 25)).stop_reason == "completed"


def test_a_loss_that_rises_from_the_start_diverges():
    result = sweep(lambda lr: 2.0 + (lr / 0.01) ** 2)
    assert result.stop_reason == "diverged"
    assert result.points[-1].lr < 0.1


def test_a_larger_factor_lets_the_loss_rise_further():
    last = [sweep(falls_then_explodes, stop_factor=factor).points[-1].lr for factor in (1.0, 4.0, 100.0)]
    assert last[0] < last[1] < last[2]


def test_the_rule_fires_at_the_factor_times_the_fall_above_the_best():
    rule = DivergenceRule(4.0)
    falling = [10.0] * 10 + [9.0, 8.0]
    assert not any(rule.diverged(loss, loss) for loss in falling)
    assert not rule.diverged(16.0, 16.0)  # a fall of 2, a rise of 8
    assert rule.diverged(16.1, 16.1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_always_stops(bad):
    # NaN compares false, so "loss > k * best" alone never stops
    result = sweep(lambda lr: bad if lr > 0.1 else 2.0, stop_factor=None)
    assert result.stop_reason == "non_finite"
    assert [math.isfinite(p.loss) for p in result.points] == [True] * (result.steps - 1) + [False]
    assert result.points[-1].smoothed_loss == 2.0


def test_without_a_stop_factor_only_a_non_finite_loss_stops():
    assert sweep(falls_then_explodes, stop_factor=None).stop_reason == "completed"


@given(st.lists(st.floats(), max_size=40), st.none() | st.floats(0.1, 10))
def test_no_losses_whatsoever_make_a_sweep_raise(losses, factor):
    rates = learning_rates(1e-5, 10.0, 40)[: len(losses)]
    result = sweep(listed(losses), rates=rates, stop_factor=factor)
    assert [p.lr for p in result.points] == list(rates[: result.steps])


def test_losses_whose_sum_overflows_make_no_sweep_raise():
    assert sweep(listed([1.7e308] * 60)).stop_reason == "completed"


# Losses that arrive late


@pytest.mark.parametrize("late", [1, 3, 16, 1000])
def test_late_losses_give_the_same_sweep_and_surplus_points_are_cut(late):
    prompt, tardy = sweep(falls_then_explodes), sweep(falls_then_explodes, late)
    assert tardy.points == prompt.points
    assert tardy.stop_reason == prompt.stop_reason


def test_late_losses_all_arrive_before_a_sweep_completes():
    assert sweep(lambda lr: 2.0, late=7).steps == len(RATES)


def test_no_more_steps_are_taken_after_a_stop_than_losses_are_late():
    session = FakeSession(falls_then_explodes, late=3)
    result = run_range_test(session, RATES, smoothing=0.9, stop_factor=4.0)
    assert len(session.rates) == result.steps + 3


# Interrupts and exceptions


def test_points_are_told_as_they_are_measured():
    told = []
    result = sweep(falls_then_explodes, late=2, on_point=told.append)
    assert tuple(told) == result.points


def raising(error, lr_limit=0.1):
    def loss(lr):
        if lr > lr_limit:
            raise error
        return 2.0

    return loss


def test_an_interrupt_ends_the_sweep_with_what_was_measured():
    result = sweep(raising(KeyboardInterrupt()))
    assert result.stop_reason == "interrupted"
    assert result.steps == sum(lr <= 0.1 for lr in RATES)


def test_an_interrupt_while_a_point_is_told_keeps_the_point():
    def interrupt(point):
        if point.step == 5:
            raise KeyboardInterrupt

    assert sweep(lambda lr: 2.0, on_point=interrupt).steps == 6


def test_an_exception_of_the_users_code_passes_through():
    with pytest.raises(ZeroDivisionError, match="the user's"):
        sweep(raising(ZeroDivisionError("the user's")))
