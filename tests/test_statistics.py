"""Smoothing and spread of noisy losses."""

import math
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscout.search.statistics import ExponentialAverage, binned, local_regression, noise_level, robust_noise_level

LOSSES = st.floats(-1e6, 1e6)
WEIGHTS = st.floats(0, 0.999)


def smoothed(weight, values):
    average = ExponentialAverage(weight)
    return [average.update(value) for value in values]


@given(LOSSES, WEIGHTS)
def test_a_constant_loss_smooths_to_exactly_itself_from_the_first_step_on(loss, weight):
    # Lightning corrects the bias with step + 1, and begins with 0.505 of the loss
    assert smoothed(weight, [loss] * 20) == [loss] * 20


@given(st.lists(LOSSES, min_size=1, max_size=30), WEIGHTS)
def test_average_is_the_weighted_mean_of_all_values_so_far(values, weight):
    weights = [weight ** (len(values) - 1 - i) for i in range(len(values))]
    expected = sum(w * v for w, v in zip(weights, values)) / sum(weights)
    assert smoothed(weight, values)[-1] == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_average_weighs_the_past_as_worked_out_by_hand():
    assert smoothed(0.5, [1.0, 4.0, 2.0]) == pytest.approx([1.0, 3.0, 17 / 7])


def test_average_without_weight_on_the_past_is_the_last_value():
    assert smoothed(0.0, [3.0, -1.0, 2.0]) == [3.0, -1.0, 2.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_leaves_the_average_unchanged(bad):
    assert smoothed(0.9, [1.0, bad, 2.0])[1:] == [1.0, smoothed(0.9, [1.0, 2.0])[1]]


def test_average_is_nan_before_the_first_finite_value():
    assert math.isnan(smoothed(0.9, [math.nan])[0])


@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=40, unique=True).map(sorted),
    st.floats(-100, 100),
    st.floats(-10, 10),
    st.floats(0.01, 30),
)
def test_local_regression_reproduces_a_straight_line(xs, intercept, slope, half_width):
    line = [intercept + slope * x for x in xs]
    # where the points in a window nearly coincide their mean stands in, off by no more than their distance
    assert local_regression(xs, line, half_width) == pytest.approx(line, rel=1e-5, abs=1e-3)


def test_local_regression_of_a_single_point_is_the_point():
    assert local_regression([1.0], [5.0], 1.0) == (5.0,)


def test_local_regression_has_no_lag_where_the_average_has():
    xs = [i / 10 for i in range(101)]
    valley = [(x - 5) ** 2 for x in xs]
    exponential = smoothed(0.9, valley)
    local = local_regression(xs, valley, 1.0)
    assert xs[local.index(min(local))] == 5.0
    assert xs[exponential.index(min(exponential))] > 5.5


def test_local_regression_weighs_by_the_tricube_of_the_distance():
    near, far = (1 - 0.5**3) ** 3, (1 - 0.75**3) ** 3
    # symmetric about 0, where the line is level and the weighted mean its height; the points at +-1.5 lie outside
    xs, ys = [-1.5, -0.75, -0.5, 0.0, 0.5, 0.75, 1.5], [99.0, 2.0, 1.0, 0.0, 1.0, 2.0, 99.0]
    assert local_regression(xs, ys, 1.0)[3] == pytest.approx((2 * near + 4 * far) / (1 + 2 * near + 2 * far))


@given(st.integers(1, 3000), st.integers(1, 400))
def test_binning_keeps_the_order_and_gives_no_more_bins_than_asked(count, bins):
    xs = [float(i) for i in range(count)]
    means, same = binned(xs, xs, bins)
    assert means == same
    assert len(means) <= bins
    assert list(means) == sorted(means)
    assert 0 <= means[0] <= means[-1] <= count - 1


def test_binning_takes_means_of_runs_of_equal_length():
    assert binned([1, 2, 3, 4, 5], [0, 2, 4, 6, 10], 3) == ((1.5, 3.5, 5), (1, 5, 10))


@pytest.mark.parametrize(
    "draw", [lambda r: r.gauss(0, 2), lambda r: r.expovariate(0.5), lambda r: r.uniform(-3.46, 3.46)]
)
def test_noise_level_is_the_deviation_of_independent_noise(draw):
    r = random.Random(0)
    assert noise_level([draw(r) for _ in range(4000)]) == pytest.approx(2, rel=0.12)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=30), st.floats(-10, 10), st.floats(-10, 10))
def test_noise_level_ignores_a_linear_trend(noise, intercept, slope):
    trended = [value + intercept + slope * i for i, value in enumerate(noise)]
    assert noise_level(trended) == pytest.approx(noise_level(noise), abs=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=30), st.floats(-10, 10))
def test_noise_level_scales_with_the_values(noise, factor):
    assert noise_level([factor * v for v in noise]) == pytest.approx(abs(factor) * noise_level(noise), abs=1e-12)


def test_noise_level_of_fewer_than_three_values_is_zero():
    assert noise_level([]) == noise_level([1.0]) == noise_level([1.0, 5.0]) == 0.0


def test_one_outlier_does_not_swamp_the_noise_level():
    r = random.Random(1)
    values = [r.gauss(0, 1) for _ in range(200)]
    values[100] += 50
    assert noise_level(values) < 2
    assert (fmean(v * v for v in values)) ** 0.5 > 3  # the plain deviation


def test_the_robust_noise_level_finds_the_deviation_of_normal_noise_on_a_trend():
    r = random.Random(0)
    values = [0.1 * i + r.gauss(0, 2.0) for i in range(4000)]
    assert robust_noise_level(values) == pytest.approx(2.0, rel=0.1)


def test_one_wild_value_hardly_changes_the_robust_noise_level():
    r = random.Random(0)
    values = [r.gauss(0, 1) for _ in range(60)]
    assert robust_noise_level([*values[:30], 1e6, *values[30:]]) == pytest.approx(robust_noise_level(values), rel=0.2)


def test_fewer_than_three_values_have_no_robust_noise_level():
    assert robust_noise_level([1.0, 5.0]) == 0.0
