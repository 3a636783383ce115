"""The rules and the verdict."""

import itertools
import math
import random
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lrscout.results import SweepPoint, SweepResult
from lrscout.search.curve import MIN_POINTS, Curve
from lrscout.search.range_test import learning_rates, run_range_test
from lrscout.search.rules import (
    RULES,
    longest_descent,
    suggest_minimum,
    suggest_slide,
    suggest_steepest,
    suggest_valley,
)
from lrscout.search.scout import suggest_scout
from lrscout.search.statistics import ExponentialAverage
from lrscout.search.suggestion import diagnose, rates_of_rules, suggest

ADVICE = ("--spacing", "Raise ", "Lower ", "Let ", "Look ")
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


class FakeSession:
    def __init__(self, loss):
        self._loss, self._arrived = loss, []

    def step(self, lr):
        self._arrived.append(self._loss(lr))

    def losses(self, wait=False):
        arrived, self._arrived = self._arrived, []
        return arrived


def sweep(loss, rates, stop_factor=4.0):
    return run_range_test(FakeSession(loss), rates, smoothing=0.9, stop_factor=stop_factor)


def points_of(losses, rates=None):
    """Points as a sweep would record them, whatever the losses."""
    average = ExponentialAverage(0.9)
    rates = learning_rates(1e-7, 10.0, len(losses)) if rates is None else rates
    return tuple(SweepPoint(i, lr, loss, average.update(loss)) for i, (lr, loss) in enumerate(zip(rates, losses)))


def exact(losses, rates):
    """Points whose smoothed loss is the loss."""
    return tuple(SweepPoint(i, lr, loss, loss) for i, (lr, loss) in enumerate(zip(rates, losses)))


def headline(sweep, rule="scout", use="decay", horizon=400):
    return suggest([Curve(sweep)], rule, use, horizon)


def curve_of(points, stop_reason="completed"):
    return Curve(SweepResult(tuple(points), stop_reason, 0.0))


def rates_of(points):
    return rates_of_rules(curve_of(points), "decay", 400)


def said(rule, points):
    """What a rule says of points that are enough for one."""
    return rule(curve_of(points), "decay")


def curve(lr, falls_at=1e-3, rises_at=0.3, initial=2.3, final=0.5):
    """A fall around one rate, and an explosion beyond another; lowest at about 4e-2."""
    x = math.log10(lr / falls_at)
    explosion = math.exp(min(50.0, 2 * math.log(10) * math.log10(lr / rises_at)))
    return final + (initial - final) * (1 / (1 + math.exp(2 * x)) + explosion)


LOWEST = min(learning_rates(1e-7, 10.0, 8001), key=curve)


def noisy(seed, noise, loss=curve):
    r = random.Random(seed)
    return lambda lr: loss(lr) + r.gauss(0, noise)


def noisy_sweep(seed, noise, steps=100, loss=curve):
    return sweep(noisy(seed, noise, loss), learning_rates(1e-7, 10.0, steps))


CLEAN = noisy_sweep(0, 0.01)
PLATEAU_SWEEPS = [noisy_sweep(seed, 0.1, loss=lambda lr: 2.3) for seed in range(300)]


# Each rule against a known answer

DECADES = learning_rates(1e-6, 1.0, 61)  # ten points a decade


def test_steepest_is_per_decade_and_not_per_rate():
    # per decade the fall at 1e-2 is twice that at 1e-5; per rate, that at 1e-5 is 500 times that at 1e-2
    losses = [3 - math.tanh(2 * (math.log10(lr) + 5)) - 2 * math.tanh(2 * (math.log10(lr) + 2)) for lr in DECADES]
    assert said(suggest_steepest, exact(losses, DECADES)).lr == pytest.approx(1e-2)


def test_steepest_tells_the_slope_per_decade():
    losses = [10 - 0.5 * math.log10(lr) for lr in DECADES]
    assert "by 0.5000 per decade" in said(suggest_steepest, exact(losses, DECADES)).reason


def test_steepest_breaks_ties_towards_the_smaller_rate():
    rates = [10.0**i for i in range(-6, 6)]
    losses = [5, 5, 5, 4, 3, 2, 1, 0, 0, 0, 9, 9]
    assert said(suggest_steepest, exact(losses, rates)).lr == rates[3]


def test_steepest_ignores_a_fall_after_the_lowest_loss():
    rates = [10.0**i for i in range(-6, 6)]
    losses = [5, 5, 4, 3, 3, 90, 90, 50, 10, 10, 90, 90]
    assert said(suggest_steepest, exact(losses, rates)).lr in rates[1:4]


def test_minimum_is_a_tenth_of_the_rate_with_the_lowest_smoothed_loss():
    losses = [(math.log10(lr) + 2) ** 2 for lr in DECADES]
    assert said(suggest_minimum, exact(losses, DECADES)).lr == pytest.approx(1e-3)


def test_valley_is_the_middle_of_the_longest_descent():
    losses = [5.0] * 20 + [5.0 - i for i in range(1, 21)] + [10.0] * 21  # from the last of the plateau, 21 points
    assert said(suggest_valley, exact(losses, DECADES)).lr == DECADES[29]


def test_valley_does_not_begin_a_decade_too_low_where_a_plateau_wobbles():
    r = random.Random(0)
    losses = [5 + r.gauss(0, 1e-3) for _ in range(30)] + [5.0 - i for i in range(1, 21)] + [10.0] * 11
    assert DECADES[30] < said(suggest_valley, exact(losses, DECADES)).lr < DECADES[50]


def test_slide_is_left_of_where_the_slope_changes_for_good():
    # level, falling by 2 a decade from 1e-4 to 1e-2, exploding from 1e-2 on
    losses = [5 - 2 * min(2.0, max(0.0, math.log10(lr) + 4)) + 50 * max(0.0, math.log10(lr) + 2) ** 2 for lr in DECADES]
    assert 1e-4 < said(suggest_slide, exact(losses, DECADES)).lr <= 1e-2


def test_slide_does_not_depend_on_the_scale_of_the_loss():
    expected = said(suggest_slide, CLEAN.points).lr
    for scale in (1e-3, 1e3):
        scaled = [SweepPoint(p.step, p.lr, scale * p.loss, scale * p.smoothed_loss) for p in CLEAN.points]
        assert said(suggest_slide, scaled).lr == expected


@every_rule
def test_every_rule_suggests_a_rate_between_the_fall_and_the_explosion(rule):
    assert 1e-4 < said(rule, CLEAN.points).lr < 0.3


@every_rule
def test_every_rule_finds_the_same_in_a_negative_loss(rule):
    shifted = [SweepPoint(p.step, p.lr, p.loss - 8, p.smoothed_loss - 8) for p in CLEAN.points]
    expected = said(rule, CLEAN.points).lr
    if rule is suggest_scout:  # which cannot tell how much is left to learn: less than all, and more than nothing
        assert expected / 10**0.6 < said(rule, shifted).lr < expected * 10**0.6
    else:
        assert said(rule, shifted).lr == pytest.approx(expected)


@pytest.mark.parametrize("count", range(MIN_POINTS))
def test_no_rule_answers_on_too_few_finite_points(count):
    assert rates_of(points_of([2.0 - i for i in range(count)] + [math.nan])) == dict.fromkeys(RULES)


@pytest.mark.parametrize("rule", [suggest_steepest, suggest_valley, suggest_slide])
def test_no_fall_is_told_by_the_rules_that_look_for_one(rule):
    made = said(rule, points_of([1.0 + i for i in range(30)]))
    assert made.lr is None
    assert "never falls" in made.reason


def test_rules_sign_their_suggestions():
    assert [said(rule, CLEAN.points).rule for rule in RULES.values()] == list(RULES)


# Properties of every rule

SHAPES = st.lists(st.integers(-1000, 1000), min_size=1, max_size=60)


def assert_same(one, other, factor=1.0):
    before_all, after_all = rates_of(one), rates_of(other)
    for name in RULES:
        before, after = before_all[name], after_all[name]
        assert (before is None) == (after is None), name
        assert before is None or after == pytest.approx(before * factor, rel=1e-9), name


@given(SHAPES, st.integers(-20, 20))
def test_scaling_the_loss_leaves_every_suggestion_where_it_is(losses, power):
    # powers of two scale without rounding, so that ties stay ties
    assert_same(points_of(losses), points_of([loss * 2.0**power for loss in losses]))


@given(SHAPES, st.integers(-1000, 1000))
@settings(max_examples=50)
def test_shifting_the_loss_leaves_every_suggestion_where_it_is(losses, shift):
    if len(set(losses)) < len(losses):  # ties are told by rounding
        losses = [loss + i / 128 for i, loss in enumerate(losses)]
    one = exact(losses, learning_rates(1e-7, 10.0, len(losses)))
    other = [SweepPoint(p.step, p.lr, p.loss + shift, p.smoothed_loss + shift) for p in one]
    before, after = rates_of(one), rates_of(other)
    for name in ("steepest", "valley", "minimum"):
        assert before[name] == after[name]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("factor", [1e-3, 0.37, 50.0])
def test_multiplying_all_rates_multiplies_every_suggestion(seed, factor):
    one = noisy_sweep(seed, 0.1).points
    other = [SweepPoint(p.step, p.lr * factor, p.loss, p.smoothed_loss) for p in one]
    assert_same(one, other, factor)


@given(SHAPES, st.floats(1e-6, 1.0), st.floats(1.01, 1e8))
def test_every_suggestion_lies_within_the_swept_range(losses, low, ratio):
    rates = learning_rates(low, low * ratio, max(2, len(losses)))
    points = points_of(losses, rates)
    for lr in rates_of(points).values():
        assert lr is None or points[0].lr <= lr <= points[-1].lr


@given(SHAPES, st.floats(1e-6, 1.0), st.floats(1.01, 1e8))
def test_scouts_rate_lies_within_the_swept_range(losses, low, ratio):
    points = points_of(losses, learning_rates(low, low * ratio, max(2, len(losses))))
    assume(not curve_of(points).too_few)
    made = said(suggest_scout, points)
    assert made.lr is None or points[0].lr <= made.lr <= points[-1].lr
    assert (made.low, made.high) == (None, None)  # a sweep does not measure which rates are usable


@given(st.lists(st.floats(), max_size=60), st.sampled_from(["completed", "diverged", "non_finite", "interrupted"]))
@settings(max_examples=300)
def test_no_losses_whatsoever_make_a_rule_or_the_verdict_raise(losses, stop_reason):
    points = points_of(losses)
    assert all(lr is None or math.isfinite(lr) for lr in rates_of(points).values())
    problem = diagnose(curve_of(points, stop_reason))
    assert problem is None or any(advice in problem for advice in ADVICE)


@pytest.mark.parametrize("loss", [1.7e308, -1.7e308, 1e151, 1e150])
def test_losses_whose_sums_overflow_make_no_rule_raise(loss):
    points = points_of([loss] * 20 + [0.0] * 20)
    rates_of(points)
    diagnose(curve_of(points))


@pytest.mark.parametrize("rates", [[0.1 + i * 1e-17 for i in range(40)], [1e-3 * (i // 2 + 1) for i in range(40)]])
def test_rates_that_do_not_rise_make_no_rule_raise(rates):
    rates_of(points_of([2.0 - 0.01 * i for i in range(40)], rates))


# The verdict


def verdict(result):
    return diagnose(Curve(result))


def test_a_sweep_that_falls_and_rises_answers():
    assert verdict(CLEAN) is None
    assert headline(CLEAN, "scout").lr == said(suggest_scout, CLEAN.points).lr


def test_a_problem_stands_in_for_the_headline_of_any_rule():
    flat = sweep(lambda lr: 2.0, learning_rates(1e-7, 10.0, 50))
    made = headline(flat, "valley")
    assert (made.lr, made.rule) == (None, "valley")
    assert made.reason == verdict(flat)


def test_a_loss_that_only_falls_asks_for_a_higher_last_rate():
    told = verdict(sweep(lambda lr: 2 - 0.1 * math.log10(lr), learning_rates(1e-7, 1e-2, 100)))
    assert told.startswith("the loss never rose")
    assert "1.0e-2" in told
    assert "Raise --max-lr" in told


def test_a_loss_that_never_moves_says_so():
    told = verdict(sweep(lambda lr: 2.0, learning_rates(1e-7, 10.0, 100)))
    assert told.startswith("the loss never fell between 1.0e-7 and 1.0e1: it stayed at 2.000.")
    assert "Raise --max-lr or --steps" in told


def test_a_loss_that_only_rises_asks_for_a_lower_first_rate():
    told = verdict(sweep(lambda lr: 2 + lr, learning_rates(0.1, 1000.0, 100)))
    assert "it only rose" in told
    assert "Lower --min-lr" in told


def test_a_loss_that_is_not_finite_at_once_names_the_rate():
    told = verdict(sweep(lambda lr: math.nan, learning_rates(3.2e-2, 10.0, 100)))
    assert told.startswith("non-finite at 3.2e-2, the very first step")
    assert "nan or inf in the data" in told


def test_a_linear_sweep_from_near_zero_is_told_about_its_first_step():
    rates = learning_rates(1e-7, 10.0, 100, "linear")
    told = verdict(sweep(lambda lr: 2.0 + lr, rates))
    assert "a factor of 1.0e6" in told
    assert "--spacing exponential" in told


def test_few_points_that_only_fall_ask_for_more_steps():
    told = verdict(sweep(lambda lr: -math.log10(lr), learning_rates(1e-7, 10.0, 6)))
    assert told.startswith("too few points")
    assert "--steps" in told


def test_no_rule_reads_a_rate_off_a_loss_that_never_moves():
    points = sweep(lambda lr: 1.0, learning_rates(1e-7, 10.0, 100)).points
    assert {lr for rule, lr in rates_of(points).items() if rule != "slide"} == {None}


def test_a_loss_that_turns_non_finite_before_it_fell_names_the_rate_and_asks_for_no_higher_one():
    told = verdict(sweep(lambda lr: 2.0 if lr < 3e-2 else math.inf, learning_rates(1e-7, 10.0, 100)))
    assert told.startswith("non-finite at 3.1e-2")
    assert "--max-lr" not in told


def test_a_loss_that_falls_and_then_turns_non_finite_answers():
    result = sweep(lambda lr: curve(lr) if lr < 0.1 else math.nan, learning_rates(1e-7, 10.0, 100))
    assert result.stop_reason == "non_finite"
    assert verdict(result) is None


def test_a_fall_within_the_noise_is_too_noisy():
    losses = [2.0 + (-1) ** i * 0.25 for i in range(60)] + [1.6 + (-1) ** i * 0.25 for i in range(20)] + [9.0] * 20
    told = diagnose(curve_of(points_of(losses), "diverged"))
    assert told.startswith("too noisy: the loss varies by")
    assert "Raise --steps" in told


@pytest.mark.parametrize("count", range(MIN_POINTS))
def test_too_few_points_ask_for_more_steps(count):
    told = diagnose(curve_of(points_of([3.0 - i for i in range(count)])))
    assert told.startswith("too few points")
    assert f"got {count}" in told
    assert "Raise --steps" in told


@pytest.mark.parametrize("steps", [0, 1, 30, 60])
def test_an_interrupted_sweep_without_an_answer_asks_to_be_run_to_its_end(steps):
    told = diagnose(curve_of(CLEAN.points[:steps], "interrupted"))
    assert told.startswith("interrupted at ")
    assert "Let the sweep finish" in told


def test_an_interrupted_sweep_that_has_risen_answers():
    assert diagnose(curve_of(CLEAN.points, "interrupted")) is None


# Realistic curves


def test_scout_suggests_no_rate_far_off_however_strong_the_noise():
    made = [headline(noisy_sweep(seed, 0.5), "scout").lr for seed in range(100)]
    rates = sorted(lr for lr in made if lr is not None)
    assert len(rates) >= 90
    assert rates[5] > LOWEST / 30
    assert rates[-1] < 2 * LOWEST


def test_pure_noise_gives_no_suggestion():
    # other finders suggest 1e-7 on a noisy plateau
    answered = sum(verdict(result) is None for result in PLATEAU_SWEEPS)
    assert answered <= 15


def test_skewed_noise_gives_no_suggestion():
    r = random.Random(0)
    results = [noisy_sweep(0, 0.0, 300, loss=lambda lr: 2 + r.expovariate(10)) for _ in range(80)]
    assert sum(verdict(result) is None for result in results) <= 4


def test_a_noisy_plateau_before_the_fall_does_not_draw_the_suggestion_to_its_first_rates():
    made = [headline(noisy_sweep(seed, 0.2), "scout").lr for seed in range(100)]
    assert min(made) > 1e-3


@pytest.mark.parametrize("steps", [20, 100, 1000, 20_000])
def test_sweeps_of_every_length_are_answered_alike_and_fast(steps):
    result = noisy_sweep(0, 0.02, steps)
    started = time.process_time()
    rates = rates_of(result.points)
    problem = verdict(result)
    assert time.process_time() - started < 2.0
    assert problem is None
    assert LOWEST / 40 < rates["scout"] < LOWEST  # a slow sweep diverges sooner, which the rule allows for


def test_a_sweep_of_half_a_decade_is_answered():
    def valley(lr):
        return 1 + 20 * math.log10(lr / 2e-2) ** 2

    result = sweep(noisy(0, 0.02, valley), learning_rates(1e-2, 3.16e-2, 100))
    made = headline(result, "scout")
    assert 1e-2 <= made.lr < 3.16e-2


def test_a_sweep_of_half_a_decade_that_only_falls_never_rose():
    result = sweep(noisy(0, 0.02, lambda lr: -math.log10(lr)), learning_rates(1e-2, 3.16e-2, 100))
    assert verdict(result).startswith("the loss never rose")


def test_linear_spacing_is_answered():
    result = sweep(noisy(0, 0.02), learning_rates(1e-4, 1.0, 200, "linear"))
    made = headline(result, "scout")
    assert LOWEST / 20 < made.lr < LOWEST * 2


def test_an_explosion_does_not_swamp_the_lowest_loss():
    result = sweep(lambda lr: curve(lr) if lr < 0.1 else 1e30, learning_rates(1e-7, 10.0, 100))
    exploded, smooth = said(suggest_scout, result.points), said(suggest_scout, CLEAN.points)
    assert smooth.lr / 3 < exploded.lr < smooth.lr * 3


def test_one_bad_batch_does_not_move_scout():
    points = list(CLEAN.points)
    losses = [p.loss for p in points]
    losses[40] = 50.0
    moved = said(suggest_scout, points_of(losses, [p.lr for p in points])).lr
    assert moved == pytest.approx(said(suggest_scout, CLEAN.points).lr, rel=0.3)


def test_suggesting_does_not_change_the_sweep():
    before = SweepResult(tuple(CLEAN.points), CLEAN.stop_reason, CLEAN.seconds)
    for name in RULES:
        headline(CLEAN, name)
    assert before == CLEAN


# The longest descent


def brute_force_length(values):
    lengths = range(len(values), 0, -1)
    return next((n for n in lengths if any(is_descent(chosen) for chosen in itertools.combinations(values, n))), 0)


def is_descent(values):
    return all(a > b for a, b in itertools.pairwise(values))


@given(st.lists(st.integers(-5, 5), max_size=10))
def test_longest_descent_is_a_descent_as_long_as_any(values):
    found = longest_descent(values)
    assert found == sorted(set(found))
    assert is_descent([values[i] for i in found])
    assert len(found) == brute_force_length(values)
