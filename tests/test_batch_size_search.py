"""Properties of the search: every mode finds the largest size of any monotone memory, and reports only what ran."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscout.results import Trial
from lrscout.search.batch_size import (
    MODES,
    Search,
    fastest,
    multiple_below,
    power_of_two_below,
    reached_plateau,
    run_search,
    splits,
)
from lrscout.search.memory_model import fitted_model, predicted_size

MIB = 1 << 20


@dataclass
class FakeRunner:
    """A device whose step takes the higher of two lines (and a jump), with so much memory."""

    limit: int = 1000 * MIB
    forward: tuple[float, float] = (20 * MIB, 5 * MIB)  # base, a sample
    optimizer: tuple[float, float] = (100 * MIB, 0.0)
    jump_at: int | None = None  # from this size on forward takes half as much again
    rate: tuple[float, float] = (100.0, 50.0)  # samples/s: the best, and the size that reaches half of it
    dataset: int | None = None
    special: dict[int, Trial] = field(default_factory=dict)
    measures: bool = True
    tried: list[int] = field(default_factory=list)

    def phases(self, size: int) -> tuple[int, int]:
        factor = 1.5 if self.jump_at is not None and size >= self.jump_at else 1.0
        return int(self.forward[0] + self.forward[1] * size * factor), int(self.optimizer[0] + self.optimizer[1] * size)

    def fits(self, size: int) -> bool:
        return max(self.phases(size)) <= self.limit

    def try_size(self, batch_size: int) -> Trial:
        self.tried.append(batch_size)
        if batch_size in self.special:
            return self.special[batch_size]
        if self.dataset is not None and batch_size > self.dataset:
            return Trial(batch_size, "too_few_samples", None, None, 0.1, 0)
        if not self.fits(batch_size):
            return Trial(batch_size, "out_of_memory", None, None, 0.1, 0)
        forward, optimizer = self.phases(batch_size) if self.measures else (None, None)
        peak = max(self.phases(batch_size)) if self.measures else None
        rate = self.rate[0] * batch_size / (batch_size + self.rate[1])
        return Trial(batch_size, "fits", peak, rate, 0.1, 6, forward, optimizer)


def search(runner, mode, **bounds):
    stops = bounds.pop("stops_at_plateau", False)
    friendly = bounds.pop("friendly_of", None)
    found = Search(limit_bytes=runner.limit, **bounds)
    end = run_search(runner, mode, found, stops_at_plateau=stops, friendly_of=friendly)
    return end, max((t.batch_size for t in end.trials if t.outcome == "fits"), default=None)


def true_largest(runner, ceiling):
    size = 0
    step = 1 << 20
    while step:
        if size + step <= ceiling and runner.fits(size + step):
            size += step
        step //= 2
    return size


lines = st.tuples(st.floats(0, 500 * MIB), st.floats(1, 60 * MIB))
runners = st.builds(
    FakeRunner,
    limit=st.integers(1, 4000 * MIB),
    forward=lines,
    optimizer=st.tuples(st.floats(0, 500 * MIB), st.floats(0, 20 * MIB)),
    jump_at=st.none() | st.integers(1, 500),
    measures=st.booleans(),
)


@given(runners, st.sampled_from(["fit", "binsearch"]), st.integers(1, 5000))
def test_fit_and_binsearch_find_the_largest_size_to_the_sample(runner, mode, ceiling):
    end, largest = search(runner, mode, ceiling=ceiling)
    assert (largest or 0) == true_largest(runner, ceiling)
    assert len(set(runner.tried)) == len(runner.tried)
    assert all(1 <= size <= ceiling for size in runner.tried)
    assert end.stop_reason == ("max" if largest == ceiling else "out_of_memory")


@given(runners, st.integers(1, 5000), st.floats(0.005, 0.2))
def test_fit_comes_within_its_resolution(runner, ceiling, resolution):
    _, largest = search(runner, "fit", ceiling=ceiling, resolution=resolution)
    best = true_largest(runner, ceiling)
    assert (largest or 0) <= best <= (largest or 0) + max(0, int((largest or 0) * resolution))


@given(runners, st.integers(1, 5000))
def test_power_finds_the_largest_power_of_two(runner, ceiling):
    _, largest = search(runner, "power", ceiling=ceiling)
    best = true_largest(runner, ceiling)
    assert (largest or 0) == (best if best == ceiling else power_of_two_below(best))


@given(st.floats(1 * MIB, 30 * MIB), st.floats(0, 300 * MIB), st.integers(600 * MIB, 4000 * MIB))
def test_fit_needs_five_trials_where_memory_is_a_line(slope, base, limit):
    runner = FakeRunner(limit=limit, forward=(base, slope))
    if true_largest(runner, 10**6) < 20:
        return
    _, largest = search(runner, "fit", resolution=0.02)
    assert len(runner.tried) <= 5
    assert largest >= 0.98 * true_largest(runner, 10**6) - 1


@given(runners, st.sampled_from(sorted(MODES)), st.integers(1, 300))
def test_no_mode_goes_below_the_smallest_size(runner, mode, smallest):
    search(runner, mode, smallest=smallest, ceiling=smallest + 1000)
    assert min(runner.tried) >= smallest


@given(runners, st.sampled_from(sorted(MODES)), st.integers(1, 3000))
def test_a_data_set_that_ends_ends_the_search(runner, mode, dataset):
    runner = replace(runner, dataset=dataset)
    end, largest = search(runner, mode, ceiling=10**6)
    assert largest is None or largest <= dataset
    if largest == dataset:
        assert end.stop_reason == "dataset"


def test_memory_that_never_ends_stops_at_the_ceiling():
    runner = FakeRunner(limit=10**15)
    for mode in MODES:
        end, largest = search(runner, mode, ceiling=777)
        assert (largest, end.stop_reason) == (777, "max")


def test_nothing_fits():
    for mode in MODES:
        runner = FakeRunner(limit=MIB)
        end, largest = search(runner, mode)
        assert largest is None
        assert runner.tried[-1] == 1 or runner.tried == [1]
        assert end.stop_reason == "out_of_memory"


@pytest.mark.parametrize("outcome", ["failed", "timeout"])
def test_a_failure_or_a_timeout_ends_the_search(outcome):
    runner = FakeRunner(special={64: Trial(64, outcome, None, None, 1.0, 0)})
    end, largest = search(runner, "power")
    assert (runner.tried[-1], largest, end.stop_reason) == (64, 32, outcome)


def test_a_growing_trial_ends_the_search_as_unstable():
    runner = FakeRunner(special={4: Trial(4, "fits", 50 * MIB, 10.0, 1.0, 6, growth_bytes=MIB)})
    end, _ = search(runner, "fit")
    assert (runner.tried, end.stop_reason) == ([4], "unstable")


def test_a_killed_trial_counts_as_not_fitting():
    runner = FakeRunner(special={128: Trial(128, "killed", None, None, 1.0, 0)})
    _, largest = search(runner, "binsearch", ceiling=150)
    assert largest == 127


def test_ctrl_c_ends_with_what_was_tried():
    class Interrupted(FakeRunner):
        def try_size(self, batch_size):
            if batch_size == 16:
                raise KeyboardInterrupt
            return super().try_size(batch_size)

    end, largest = search(Interrupted(), "power")
    assert (end.stop_reason, largest) == ("interrupted", 8)


def test_throughput_that_no_longer_rises_ends_the_search_where_asked():
    runner = FakeRunner(limit=10**15, rate=(1000.0, 8.0))
    end, largest = search(runner, "power", stops_at_plateau=True, ceiling=10**6)
    assert end.stop_reason == "throughput"
    assert largest == 512  # which is 4.6 % faster than 128
    assert fastest(end.trials).batch_size == 128


def test_one_slow_size_is_no_plateau():
    def trials(*rates):
        return [Trial(2**i, "fits", None, rate, 0.1, 6) for i, rate in enumerate(rates)]

    assert not reached_plateau(trials(10.0, 20.0))
    assert not reached_plateau(trials(10.0, 9.0, 20.0))
    assert reached_plateau(trials(10.0, 9.0, 10.2))


@given(st.lists(st.tuples(st.integers(1, 999), st.floats(0.1, 1e6)), min_size=1), st.floats(0.01, 100))
def test_the_fastest_is_near_the_best_and_does_not_depend_on_the_unit(rates, unit):
    sizes = dict(rates)
    found = fastest([Trial(size, "fits", None, rate, 0.1, 6) for size, rate in sizes.items()])
    assert found.samples_per_second >= 0.95 * max(sizes.values()) - 1e-9
    again = fastest([Trial(size, "fits", None, rate * unit, 0.1, 6) for size, rate in sizes.items()])
    assert (
        again.batch_size == found.batch_size
        or min(abs(rate / max(sizes.values()) - 0.95) for rate in sizes.values()) < 1e-9
    )


def test_the_friendly_size_is_tried_before_it_is_offered():
    runner = FakeRunner()
    end, largest = search(runner, "fit", resolution=0.02, friendly_of=lambda size: multiple_below(size, 8))
    assert multiple_below(largest, 8) in [t.batch_size for t in end.trials if t.outcome == "fits"]


@pytest.mark.parametrize(
    ("outcome", "reason"), [("failed", "failed"), ("timeout", "timeout"), ("out_of_memory", "max"), ("fits", "max")]
)
def test_what_happens_at_the_friendly_size_is_told_too(outcome, reason):
    runner = FakeRunner(limit=10**15, special={80: Trial(80, outcome, None, None, 1.0, 0)})
    end, largest = search(runner, "fit", ceiling=100, friendly_of=lambda size: 80)
    assert (end.trials[-1].batch_size, largest, end.stop_reason) == (80, 100, reason)


@given(st.integers(1, 10**6), st.integers(1, 64))
def test_friendly_sizes_are_just_below(size, step):
    assert power_of_two_below(size) <= size < 2 * power_of_two_below(size)
    assert multiple_below(size, step) <= size < multiple_below(size, step) + step


@given(st.integers(1, 5000), st.integers(1, 500))
def test_splits_multiply_to_the_effective_size_within_the_largest(effective, largest):
    for split in splits(effective, largest):
        assert split.batch_size * split.accumulate * split.processes == effective
        assert split.batch_size <= largest


@given(st.floats(1, 1e9), st.floats(1, 1e8), st.integers(1, 50), st.integers(51, 500))
def test_the_model_of_a_line_is_the_line(base, slope, small, large):
    trials = [
        Trial(size, "fits", round(base + slope * size), None, 0.1, 3, round(base + slope * size), 0)
        for size in (small, large)
    ]
    model = fitted_model(trials)
    assert model.fit_error < 1e-6 * max(1, large)
    assert model.peak_bytes(large) == pytest.approx(base + slope * large, rel=1e-2, abs=large)
    wanted = (small + large) // 2
    assert predicted_size(trials, round(base + slope * wanted)) == pytest.approx(wanted, abs=2 / slope + 0.01)


def test_there_is_no_model_of_one_size_or_of_unknown_peaks():
    one = Trial(4, "fits", 100, None, 0.1, 3, 100, 50)
    assert fitted_model([one]) is None
    assert predicted_size([one], 1000) is None
    assert fitted_model([replace(one, peak_bytes=None), replace(one, batch_size=8, peak_bytes=None)]) is None


@dataclass
class FakeProgram(FakeRunner):
    """A training command that follows its size only so far, or refuses larger ones."""

    cap: int = 10**9
    refuses_above: int = 10**9

    def try_size(self, batch_size: int) -> Trial:
        self.tried.append(batch_size)
        if batch_size > self.refuses_above:
            return Trial(batch_size, "refused", None, None, 0.1, 0, reason="ValueError: too large")
        if batch_size > self.cap:
            return Trial(batch_size, "capped", None, None, 0.1, 3, cap=self.cap)
        self.tried.pop()
        return super().try_size(batch_size)


@pytest.mark.parametrize("mode", ["fit", "binsearch"])
@given(limit=st.integers(1, 150))
def test_what_the_program_caps_or_refuses_is_found_and_told_from_memory(mode, limit):
    capped, refused = FakeProgram(cap=limit), FakeProgram(refuses_above=limit)
    for runner, reason in ((capped, "capped"), (refused, "refused")):
        end, largest = search(runner, mode)
        assert (largest, end.stop_reason) == (limit, reason)
    if mode == "fit" and limit > 16:
        assert len(capped.tried) <= 5  # two sizes, one that is capped, the cap, and a power of two


def test_memory_ends_the_search_where_it_is_the_nearer_limit():
    end, largest = search(FakeProgram(cap=10_000), "fit")
    assert (largest, end.stop_reason) == (196, "out_of_memory")
