"""Which size trains fastest: speed, efficiency, ties; the rotation that times sizes; the rate for another size."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrscout.results import StepTiming
from lrscout.search.goodput import OBJECTIVES, efficiency, goodput, least_time
from lrscout.search.scaling import rule_for, scaled_rate
from lrscout.search.throughput import expected_seconds, interval, rotate, spread, timings_of

POWERS = [2**k for k in range(12)]


def timing(size, seconds, spread=0.01):
    return StepTiming(size, size, seconds, seconds * (1 - spread), seconds * (1 + spread), 20)


def machine(base=0.01, each=0.0001):
    """Timings of a step that takes some time, and some more for every sample."""
    return [timing(size, base + each * size) for size in POWERS]


def test_without_noise_the_largest_throughput_wins_and_with_it_a_size_near_the_balance_of_both():
    assert least_time(machine(), None).batch_size == 1024  # within 5% of the best
    # half the highest throughput is at 100 samples, and (1 + 100 / B)(100 + B) is least at 100
    assert least_time(machine(), 100.0).batch_size in (64, 128)
    assert least_time(machine(), 1.0).batch_size in (8, 16)


@given(st.floats(1, 1e5), st.floats(1, 1e5))
def test_more_noise_never_asks_for_a_smaller_batch(one, other):
    small, large = sorted((one, other))
    assert least_time(machine(), small).samples <= least_time(machine(), large).samples


@given(st.floats(1e-3, 1e3), st.floats(1, 1e4))
def test_a_machine_that_is_slower_by_a_factor_gets_the_same_size(factor, noise):
    slower = [timing(t.batch_size, factor * t.seconds) for t in machine()]
    assert least_time(slower, noise).batch_size == least_time(machine(), noise).batch_size


def test_of_ties_the_smallest_is_named():
    close = [timing(8, 0.0103), timing(16, 0.02), timing(32, 0.041)]
    assert least_time(close, None).batch_size == 8
    apart = [timing(8, 0.012), timing(16, 0.02)]
    assert least_time(apart, None).batch_size == 16
    overlapping = [timing(8, 0.0112, spread=0.2), timing(16, 0.02, spread=0.2)]
    assert least_time(overlapping, None).batch_size == 8
    far_apart = [timing(8, 0.02, spread=0.9), timing(16, 0.02, spread=0.9)]
    assert least_time(far_apart, None).batch_size == 16  # however unsure: half as fast is no tie


def test_a_sample_is_worth_half_in_a_batch_as_large_as_the_noise_scale():
    assert efficiency(100, 100.0) == pytest.approx(0.5)
    assert efficiency(100, None) == 1
    assert goodput(timing(100, 0.1), 100.0) == pytest.approx(500)


def test_the_fewest_samples():
    assert OBJECTIVES["samples"](machine(), 100.0).batch_size == 8  # 16 would take 1.16 / 1.01 of what 1 takes
    assert OBJECTIVES["samples"](machine(), None).batch_size == 1


class FakeMachine:
    """A machine with a clock: a step takes its time, longer in busy spells."""

    def __init__(self, seed=0, busy=0.0, base=0.01, each=0.0001, steps=12, overhead=0.0, fails=()):
        self.clock, self.turns, self.overhead, self._fails = 0.0, [], overhead, fails
        self._random, self._busy, self._base, self._each, self._steps = random.Random(seed), busy, base, each, steps
        self._slow_until = self._quick_until = 0.0

    def time(self, size):
        self.turns.append(size)
        self.clock += self.overhead
        if size in self._fails:
            return ()
        return [self._step(size) for _ in range(self._steps)]

    def _step(self, size):
        if self._busy and self.clock > self._quick_until:
            self._slow_until = self.clock + self._random.uniform(0.2, 2.0)
            self._quick_until = self._slow_until + self._random.uniform(0.2, 2.0)
        slow = 1 + self._busy * (self.clock < self._slow_until)
        seconds = (self._base + self._each * size) * slow * self._random.uniform(1, 1.1)
        self.clock += seconds
        return seconds

    def answer(self, noise, seconds, sizes=POWERS):
        weigh = lambda size: 1 / (size * efficiency(size, noise))  # noqa: E731
        times = rotate(self, sizes, weigh, seconds, clock=lambda: self.clock)
        return least_time(timings_of(times, lambda size: size), noise).batch_size


def test_every_size_is_timed_and_clear_losers_only_once():
    quiet = FakeMachine()
    assert quiet.answer(100.0, 600) in (64, 128)
    assert set(quiet.turns) == set(POWERS)
    assert quiet.turns.count(1) == quiet.turns.count(2048) == 1
    assert quiet.clock < 60  # it ends once the order is settled


@pytest.mark.parametrize("noise", [20.0, 100.0, 1000.0])
def test_a_busy_machine_gets_the_same_size_or_a_neighbour_ten_times(noise):
    quiet = FakeMachine().answer(noise, 600)
    answers = [FakeMachine(seed, busy=2.0).answer(noise, 30) for seed in range(10)]
    assert all(quiet / 2 <= answer <= quiet * 2 for answer in answers)


def test_the_rotation_keeps_its_time_and_begins_with_the_most_promising():
    slow = FakeMachine(base=1.0, each=0.01)
    times = rotate(slow, POWERS, lambda size: 1 / size, 30.0, clock=lambda: slow.clock)
    assert slow.clock < 30 + 12 * 22
    assert 0 < len(times) < len(POWERS)
    known = {16: [0.0116] * 6, 1024: [0.112] * 6}
    machine = FakeMachine()
    rotate(machine, POWERS, lambda size: 1 + 100 / size, 0.2, known, clock=lambda: machine.clock)
    assert machine.turns[0] in (32, 64, 128)


@pytest.mark.parametrize(("seconds", "turns"), [(7.0, 0), (9.0, 1), (15.0, 1), (17.0, 2)])
def test_a_turn_that_would_not_end_in_time_is_not_begun(seconds, turns):
    known = {size: [0.01] * 2 for size in (8, 16, 32)}
    machine = FakeMachine(overhead=8.0)
    rotate(machine, (8, 16, 32), lambda size: 1 / size, seconds, known, clock=lambda: machine.clock)
    assert len(machine.turns) == turns
    assert machine.clock <= seconds


def test_a_turn_of_slow_steps_that_would_not_end_in_time_is_not_begun():
    machine = FakeMachine(base=1.0, steps=4)
    known = {8: [1.0] * 2, 16: [1.0] * 2}
    rotate(machine, (8, 16), lambda size: 1 / size, 10.0, known, clock=lambda: machine.clock)
    assert len(machine.turns) == 2
    assert machine.clock <= 10.0


def test_a_size_that_fails_is_left_out_and_the_others_are_timed():
    machine = FakeMachine(fails=(16,))
    times = rotate(machine, (8, 16, 32), lambda size: 1.0, 60.0, clock=lambda: machine.clock)
    assert set(times) == {8, 32}
    assert machine.turns.count(16) == 1
    nothing = FakeMachine(fails=(8, 16))
    assert rotate(nothing, (8, 16), lambda size: 1.0, 60.0, clock=lambda: nothing.clock) == {}
    assert len(nothing.turns) == 2


def test_seconds_of_a_size_that_was_not_timed_are_read_off_a_line():
    times = {8: [1.0, 1.0], 16: [2.0, 2.0]}
    assert expected_seconds(times, 32) == pytest.approx(4.0)
    assert expected_seconds(times, 4) == pytest.approx(0.5)
    assert expected_seconds({8: [1.0]}, 16) == 1.0
    assert expected_seconds({}, 16) == 0.0


def test_a_smaller_batch_takes_no_longer_than_a_larger_one():
    times = {8: [0.5] * 12, 16: [0.1] * 12, 32: [0.2] * 12, 64: [0.15] * 12}
    found = timings_of(times, lambda size: size)
    assert [each.seconds for each in found] == [0.1, 0.1, 0.15, 0.15]
    assert [each.batch_size for each in found] == [8, 16, 32, 64]


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=60))
@settings(max_examples=100)
def test_an_interval_holds_its_median(seconds):
    (found,) = timings_of({4: seconds}, lambda size: 2 * size)
    assert found.low <= found.seconds <= found.high
    assert found.samples_per_second == pytest.approx(8 / found.seconds)


@pytest.mark.parametrize(("count", "low", "high"), [(6, 1, 6), (10, 2, 9), (20, 6, 15)])
def test_the_medians_interval_is_that_of_tables_of_the_sign_test(count, low, high):
    values = [float(value) for value in range(1, count + 1)]
    assert interval(values[::-1]) == (low, high)
    assert spread(values) == pytest.approx((high - low) / 2 / ((count + 1) / 2))
    assert spread([0.0] * count) == float("inf")  # a clock too coarse for such steps


def test_the_spread_of_a_median():
    assert spread([1.0] * 5) == float("inf")
    assert spread([1.0] * 10) == 0
    assert 0 < spread([1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.2, 1.0]) < 0.2


def test_rates_follow_the_rule_of_their_optimizer():
    assert [rule_for(name) for name in ("SGD", "AdamW", "Lion", "RMSprop")] == ["linear", *["square-root"] * 3]
    assert scaled_rate(0.1, "SGD", 32, 128).lr == pytest.approx(0.4)
    assert scaled_rate(0.1, "AdamW", 32, 128).lr == pytest.approx(0.2)
    assert scaled_rate(None, "SGD", 32, 128).lr is None


def test_rates_level_off_beyond_the_noise_scale():
    assert scaled_rate(0.1, "SGD", 1, 4, noise=1e6).lr == pytest.approx(0.4, rel=1e-3)
    assert scaled_rate(0.1, "SGD", 100, 100_000, noise=100.0).lr == pytest.approx(0.2, rel=1e-2)
    there = scaled_rate(0.1, "Adam", 32, 256, noise=50.0)
    assert scaled_rate(there.lr, "Adam", 256, 32, noise=50.0).lr == pytest.approx(0.1)


def test_sizes_too_far_apart_for_any_rule_are_told():
    assert not scaled_rate(0.1, "SGD", 64, 1024).is_far
    assert scaled_rate(0.1, "SGD", 64, 1025).is_far
    assert scaled_rate(0.1, "SGD", 64, 3).is_far
