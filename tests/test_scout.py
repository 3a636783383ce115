"""scout: the formula on curves whose answer is known, what it is sure of, and where a search looks."""

from __future__ import annotations

import functools
import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscout.results import SweepPoint, SweepResult
from lrscout.search.bracket import MIN_STEPS_FOR_TWO_SWEEPS, SWEEP_STEPS, coarse_rates, fine_rates
from lrscout.search.confidence import judge
from lrscout.search.curve import Curve
from lrscout.search.range_test import learning_rates
from lrscout.search.scout import horizon_factor, suggest_scout
from lrscout.search.suggestion import suggest, uses_of

START, LOWEST, DIVERGES = 1e-4, 1e-2, 1e-1
RATES = learning_rates(START, 1.0, 121)  # thirty steps a decade


def valley(lr, left=0.5, lowest=LOWEST):
    """A fall from 1 to `left` with its corner at the lowest, a flat stretch up to the divergence, and then a wall."""
    if lr > DIVERGES * 1.001:
        return 50.0
    depth = 1 - left
    slope = (math.log10(lr) - math.log10(START)) / (math.log10(lowest) - math.log10(START))
    return 1 - depth * slope if lr < lowest else left + 0.02 * depth * math.log10(lr / lowest)


def swept(loss, rates=RATES, noise=0.0, seed=0):
    r = random.Random(seed)
    losses = [loss(lr) + r.gauss(0, noise) for lr in rates]
    return tuple(SweepPoint(i, lr, loss, loss) for i, (lr, loss) in enumerate(zip(rates, losses)))


def result(points, stop_reason="diverged", below=None):
    return SweepResult(points, stop_reason, 1.0, below)


def curve_of(points):
    return Curve(result(points))


def rate_of(points, use="decay"):
    return suggest_scout(curve_of(points), use).lr


def log_rate(points, use="decay"):
    return math.log10(rate_of(points, use))


def test_the_rate_stands_below_the_middle_of_lowest_loss_and_divergence():
    points = swept(valley)
    curve = curve_of(points)
    assert curve.rate_of_divergence == pytest.approx(DIVERGES, rel=0.1)
    assert LOWEST / 2 < curve.rate_of_lowest < LOWEST * 2
    middle = (math.log10(curve.rate_of_lowest) + math.log10(curve.rate_of_divergence)) / 2
    assert log_rate(points) == pytest.approx(middle - 1.2 + 1.2 * curve.loss_left, abs=0.02)


def test_a_constant_rate_is_two_fifths_of_the_peak_of_a_decaying_schedule():
    points = swept(valley)
    assert rate_of(points, "constant") == pytest.approx(rate_of(points, "decay") * 10**-0.4)


def test_the_more_was_learned_the_lower_the_rate():
    rates = [log_rate(swept(lambda lr, left=left: valley(lr, left))) for left in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert all(a < b for a, b in pairwise(rates))
    assert rates[-1] - rates[0] == pytest.approx(1.2 * 0.8, abs=0.15)


def test_a_slow_sweep_raises_the_rate_by_half_of_what_it_is_slower():
    slow = swept(valley, learning_rates(START, 1.0, 481))
    assert log_rate(slow) - log_rate(swept(valley)) == pytest.approx(0.5 * math.log10(4), abs=0.1)


def test_the_correction_for_a_slow_sweep_stays_within_what_was_measured():
    slow, slower = (swept(valley, learning_rates(START, 1.0, steps)) for steps in (2000, 20_000))
    assert log_rate(slower) == pytest.approx(log_rate(slow), abs=0.1)


def test_a_longer_training_gets_a_lower_rate_and_the_measured_length_changes_nothing():
    curve = curve_of(swept(valley))
    rates = [suggest([curve], "scout", "decay", horizon).lr for horizon in (100, 400, 10_000)]
    assert rates[0] > rates[1] > rates[2]
    assert rates[1] == suggest_scout(curve, "decay").lr
    assert horizon_factor(400) == 1


def test_the_other_rules_know_neither_use_nor_horizon():
    curve = curve_of(swept(valley, noise=0.005))
    assert len(set(uses_of([curve], "valley", 400).values())) == 1
    assert suggest([curve], "valley", "decay", 400).lr == suggest([curve], "valley", "decay", 10_000).lr
    assert suggest([curve], "valley", "decay", 400).confidence is None


@given(st.floats(0.01, 100), st.floats(1e-3, 1e3))
def test_scaling_loss_and_rates_scales_the_suggestion(loss_factor, rate_factor):
    points = swept(valley, noise=0.01)
    scaled = tuple(
        SweepPoint(p.step, p.lr * rate_factor, p.loss * loss_factor, p.smoothed_loss * loss_factor) for p in points
    )
    assert log_rate(scaled) == pytest.approx(log_rate(points) + math.log10(rate_factor), abs=1e-6)


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_noise_moves_the_rate_by_less_than_a_factor_of_two(noise):
    clean = log_rate(swept(valley))
    assert all(abs(log_rate(swept(valley, noise=noise, seed=seed)) - clean) < math.log10(2) for seed in range(50))


# Confidence


def judged(points, rates=(1e-3,), horizon=400, **more):
    return judge([curve_of(points)], rates, horizon, **more)


def deep(lr):
    """A valley that leaves little to learn."""
    return valley(lr, left=0.2)


def test_a_clean_valley_that_leaves_little_is_answered_with_high_confidence():
    assert judged(swept(deep, noise=0.01)) == ("high", ())


@pytest.mark.parametrize(
    ("points", "more", "doubt"),
    [
        (swept(deep, RATES[::4]), {}, "steps in the decade below"),
        (swept(deep), {"horizon": 100_000}, "extrapolated to 100000 steps"),
        (swept(deep), {"epochs": 1000.0}, "1000 epochs may overfit"),
        (swept(deep), {"rates": (1e-3, 1e-2)}, "disagree by a factor of 10"),
    ],
)
def test_a_doubt_makes_it_medium_and_says_why(points, more, doubt):
    confidence, doubts = judged(points, **more)
    assert confidence == "medium"
    assert doubt in " ".join(doubts)


@pytest.mark.parametrize(
    ("points", "doubt"),
    [
        (swept(deep, noise=0.25), "noise between batches"),
        (swept(deep, [lr for lr in RATES if lr < DIVERGES]), "before the loss diverged"),
        (swept(lambda lr: deep(lr) - 5), "not positive"),
        (swept(valley), "the sweep leaves 5"),
    ],
)
def test_a_sweep_that_does_not_determine_the_rate_and_is_left_alone_makes_it_low_and_says_why(points, doubt):
    confidence, (told,) = judged(points)
    assert confidence == "low"
    assert doubt in told
    assert "no short training runs were made" in told


def test_a_fall_that_the_noise_hides_is_answered_below_a_known_divergence_with_low_confidence():
    hidden = Curve(result(swept(lambda lr: 1.0 if lr < DIVERGES else 50.0, noise=0.6), below=DIVERGES))
    made = suggest([hidden], "scout", "decay", 400)
    assert made.confidence == "low"
    assert START < made.lr < DIVERGES / 2
    assert "hidden in the noise" in made.doubts[0]


def test_without_a_known_divergence_the_same_sweep_does_not_answer():
    hidden = Curve(result(swept(lambda lr: 1.0, noise=0.6), stop_reason="completed"))
    assert suggest([hidden], "scout", "decay", 400).lr is None


def test_a_loss_that_only_rises_is_not_answered_below_its_divergence():
    rises = Curve(result(swept(lambda lr: 1 + 40 * lr, noise=0.001), below=DIVERGES))
    made = suggest([rises], "scout", "decay", 400)
    assert made.lr is None
    assert "never fell" in made.reason


# Several seeds


def seeds(count, answer):
    return [curve_of(swept(valley, noise=0.01, seed=i)) if i < answer else flat(i) for i in range(count)]


def flat(seed):
    return Curve(result(swept(lambda lr: 1.0, noise=0.01, seed=seed), stop_reason="completed"))


def test_a_doubt_that_seeds_share_is_told_once_with_the_range_of_its_numbers():
    curves = [curve_of(swept(functools.partial(valley, left=left))) for left in (0.6, 0.7, 0.65)]
    confidence, (told,) = judge(curves, [1e-3] * 3, 400)
    left = [round(100 * curve.loss_left) for curve in curves]
    assert confidence == "low"
    assert told.startswith(f"in 3 of 3 seeds, the sweep leaves {min(left)} to {max(left)}% of the loss"), (told, left)


def test_several_seeds_suggest_their_median():
    curves = seeds(3, 3)
    rates = sorted(suggest([curve], "scout", "decay", 400).lr for curve in curves)
    made = suggest(curves, "scout", "decay", 400)
    assert made.lr == pytest.approx(rates[1])
    assert "median of 3 seeds" in made.reason


def test_an_even_number_of_seeds_suggests_the_middle_of_the_two_in_the_middle():
    curves = seeds(4, 4)
    rates = sorted(suggest([curve], "scout", "decay", 400).lr for curve in curves)
    assert suggest(curves, "scout", "decay", 400).lr == pytest.approx(math.sqrt(rates[1] * rates[2]))


def test_most_of_the_seeds_must_answer():
    assert suggest(seeds(3, 2), "scout", "decay", 400).lr is not None
    assert suggest(seeds(3, 1), "scout", "decay", 400).lr is None
    assert suggest(seeds(2, 1), "scout", "decay", 400).lr is None


# Where a search looks


def coarse_sweep(steps):
    points = swept(lambda lr: valley(max(lr, START)), coarse_rates(steps))
    cut = next(i for i, p in enumerate(points) if p.loss > 10)
    return curve_of(points[: cut + 3])


@given(st.integers(MIN_STEPS_FOR_TWO_SWEEPS, 3000))
def test_both_sweeps_together_take_the_steps_allowed(steps):
    coarse = coarse_sweep(steps)
    assert coarse.sweep.steps + len(fine_rates(coarse, steps)) == steps


@given(st.integers(MIN_STEPS_FOR_TWO_SWEEPS, 3000))
def test_the_fine_sweep_begins_three_decades_below_the_divergence_and_passes_it(steps):
    coarse = coarse_sweep(steps)
    rates = fine_rates(coarse, steps)
    assert rates[0] == pytest.approx(coarse.rate_of_divergence / 1000)
    assert rates[-1] > 2 * coarse.rate_of_divergence


def test_the_coarse_sweep_takes_four_steps_a_decade():
    rates = coarse_rates(SWEEP_STEPS)
    assert (rates[0], rates[-1]) == (1e-7, 1e3)
    assert rates[4] / rates[0] == pytest.approx(10)


def test_there_is_no_fine_sweep_where_the_coarse_one_saw_no_divergence():
    assert fine_rates(Curve(result(swept(lambda lr: 1.0, coarse_rates(SWEEP_STEPS)), "completed")), SWEEP_STEPS) == ()
    assert fine_rates(Curve(result(coarse_sweep(SWEEP_STEPS).sweep.points, "interrupted")), SWEEP_STEPS) == ()
