"""Student's t against tables, intervals against simulation, and Holm's correction."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lrscout.search.paired import (
    detectable,
    difference_of,
    holm,
    incomplete_beta,
    mean_of,
    t_quantile,
    two_sided_p,
    values_needed,
)


@pytest.mark.parametrize(
    ("share", "freedom", "expected"),  # of printed tables, and closed forms for 1 and 2 degrees
    [
        (0.975, 1, math.tan(math.pi * 0.475)),
        (0.975, 2, 4.302652729911275),
        (0.975, 3, 3.182446305284263),
        (0.975, 4, 2.7764451051977987),
        (0.95, 5, 2.015048372669157),
        (0.995, 9, 3.2498355440153697),
        (0.975, 29, 2.045229642132703),
        (0.975, 1000, 1.9623390808264078),
        (0.975, 1e7, 1.9599642),
    ],
)
def test_quantiles_of_students_t_are_those_of_the_tables(share, freedom, expected):
    assert t_quantile(share, freedom) == pytest.approx(expected, rel=1e-7)


@given(st.floats(0.51, 0.9999), st.floats(0.6, 500))
def test_a_quantile_has_its_share_below_it(share, freedom):
    assert two_sided_p(t_quantile(share, freedom), freedom) == pytest.approx(2 * (1 - share), rel=1e-6, abs=1e-9)


@given(st.floats(0, 50))
@example(1e-9)
def test_p_with_one_degree_of_freedom_is_cauchys(t):
    assert two_sided_p(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t), abs=1e-10)


@given(st.floats(0.5, 40), st.floats(0, 1))
def test_the_incomplete_beta_of_a_power_is_that_power(a, x):
    assert incomplete_beta(a, 1, x) == pytest.approx(x**a, rel=1e-9, abs=1e-12)


@given(st.floats(0.5, 40), st.floats(0.5, 40), st.floats(0, 1))
def test_the_incomplete_beta_is_symmetric(a, b, x):
    assert incomplete_beta(a, b, x) + incomplete_beta(b, a, 1 - x) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("paired", [True, False])
def test_the_interval_covers_the_true_difference_95_times_in_100(n, paired):
    noise = random.Random(0)
    trials, covered = 3000, 0
    for _ in range(trials):
        shared = [noise.gauss(0, 3) for _ in range(n)]  # what a seed does to both
        ours = {seed: 0.3 + noise.gauss(0, 1) + shared[seed] for seed in range(n)}
        theirs = {seed: noise.gauss(0, 1) + (shared[seed] if paired else noise.gauss(0, 3)) for seed in range(n)}
        found = difference_of(ours, theirs, paired)
        covered += abs(found.mean - 0.3) <= found.half_width
    assert 0.94 <= covered / trials <= (0.96 if paired else 0.975)  # Welch's errs to the safe side


def test_pairing_takes_out_what_a_seed_does_to_both():
    ours = {0: 1.0, 1: 11.1, 2: 20.9}
    theirs = {0: 0.0, 1: 10.0, 2: 20.0}
    paired, unpaired = difference_of(ours, theirs, True), difference_of(ours, theirs, False)
    assert paired.mean == pytest.approx(unpaired.mean)
    assert paired.p < 0.01 < 0.9 < unpaired.p


def test_only_seeds_that_both_have_are_paired():
    found = difference_of({0: 1.0, 1: 2.0, 5: 99.0}, {0: 0.5, 1: 1.5, 7: -99.0}, True)
    assert (found.mean, found.n) == (0.5, 2)
    assert difference_of({0: 1.0}, {1: 1.0}, True) is None


def test_one_value_tells_no_spread():
    found = mean_of([2.0])
    assert (found.mean, found.half_width, found.p) == (2.0, None, None)
    assert difference_of({0: 1.0}, {0: 3.0, 1: 4.0}, False).half_width is None


def test_identical_runs_do_not_differ_and_constant_differences_do():
    same = {0: 1.0, 1: 2.0, 2: 3.0}
    assert difference_of(same, same, True).p == 1.0
    assert difference_of({k: v + 1 for k, v in same.items()}, same, True).p == 0.0


def test_what_rounding_makes_is_no_difference():
    ours = {0: 1.0 + 1e-8, 1: 2.0 + 1e-8, 2: 3.0 + 1e-8}
    assert difference_of(ours, {0: 1.0, 1: 2.0, 2: 3.0}, True).p == 1.0


def test_holm_gives_the_values_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_makes_a_p_smaller(ps):
    adjusted = holm(ps)
    assert all(p <= a <= 1 for p, a in zip(ps, adjusted))
    order = sorted(range(len(ps)), key=ps.__getitem__)
    assert all(adjusted[i] <= adjusted[j] for i, j in pairwise(order))
    assert holm([ps[0]]) == (ps[0],)


@given(st.floats(0.01, 10), st.integers(3, 30), st.integers(1, 5))
def test_the_detectable_difference_needs_just_as_many_values(half_width, n, tests):
    difference = detectable(half_width, n, tests)
    assert values_needed(difference * 1.0001, half_width, n, tests) == n
    assert values_needed(difference / 4, half_width, n, tests) > n
    assert detectable(half_width, n, tests + 1) > difference > half_width


def test_a_detectable_difference_is_found_four_times_out_of_five():
    rng = random.Random(0)
    n, found, runs = 8, 0, 2000
    difference = detectable(t_quantile(0.975, n - 1.0) / math.sqrt(n), n)  # at a standard deviation of 1
    for _ in range(runs):
        p = mean_of([rng.gauss(difference, 1.0) for _ in range(n)]).p
        found += p < 0.05
    assert found / runs == pytest.approx(0.8, abs=0.04)


def test_a_difference_that_is_nothing_cannot_be_found():
    assert values_needed(0.0, 1.0, 5) is None
