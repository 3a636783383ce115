"""Which peak rate a schedule is judged at, with made-up runs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscout.results import ComparedRun, RateRange
from lrscout.search.tuning import Tuning, tuning_seeds, within_noise

SEEDS = (7, 8, 9)


def run_of(final, *, status="ok"):
    final = final if status == "ok" else None
    return ComparedRun("cosine", "cosine", 0, 0.1, "tune", status, final, final, final, (), 1.0)


def place_of(plan, center):
    return round(math.log(plan.peak_lr / center, 3))


def table(rows, plans, center=0.1):
    """Runs whose final losses are given for every place on the grid, seed by seed; a row of one holds for all seeds."""

    def run(wave):
        plans.extend(wave)
        return {plan: run_of(final(plan), status="diverged" if final(plan) is None else "ok") for plan in wave}

    def final(plan):
        row = rows.get(place_of(plan, center), [5.0])
        return row[min(SEEDS.index(plan.seed), len(row) - 1)]

    return run


def tuned_rates(schedules, center, seeds, better, run):
    """The rates of all schedules, where what they ask for is made together."""
    tuning = Tuning(schedules, center, seeds, better)
    wave = tuning.first()
    while wave:
        wave = [more for plan, made in run(wave).items() for more in tuning.ended(plan, made)]
    return [tuning.found[i] for i in range(schedules)]


def tuned(rows, plans=None, center=0.1):
    (found,) = tuned_rates(1, center, SEEDS, identity, table(rows, [] if plans is None else plans, center))
    return found


def bowl(best, plans):
    """Runs whose final loss grows with the distance from the best rate, in decades."""

    def run(wave):
        plans.extend(wave)
        return {plan: run_of(abs(math.log10(plan.peak_lr / best[plan.schedule]))) for plan in wave}

    return run


def identity(value):
    return value


def near(*rates):
    return [pytest.approx(rate) for rate in rates]


def test_every_schedule_gets_the_best_rate_of_a_grid_of_its_own():
    plans = []
    found = tuned_rates(2, 0.1, SEEDS, identity, bowl([0.12, 0.25], plans))
    assert [rate.lr for rate in found] == near(0.1, 0.3)
    assert {plan.role for plan in plans} == {"tune"}
    assert [sum(plan.schedule == i for plan in plans) for i in range(2)] == [5, 7]  # 0.9 was tried beyond the edge


@pytest.mark.parametrize(("best", "expected"), [(1e-9, 0.1 / 27), (1e9, 2.7)])
def test_a_grid_moves_on_at_most_twice(best, expected):
    plans = []
    (found,) = tuned_rates(1, 0.1, SEEDS, identity, bowl([best], plans))
    assert found.lr == pytest.approx(expected)
    assert len({plan.peak_lr for plan in plans}) == 5


def test_where_every_rate_fails_the_grid_moves_down():
    found = tuned({-1: [None], 0: [None], 1: [None], -2: [1.0], -3: [1.0]})
    assert found.lr == pytest.approx(0.1 / 9)


def test_where_no_rate_trains_the_smallest_is_taken_and_no_range_is_told():
    found = tuned({place: [None] for place in range(-3, 4)})
    assert found.lr == pytest.approx(0.1 / 27)
    assert found.range is None


def test_where_more_is_better_the_rate_with_the_most_is_taken():
    def run(wave):
        return {plan: run_of(1 - abs(math.log10(plan.peak_lr / 0.3))) for plan in wave}

    (found,) = tuned_rates(1, 0.1, SEEDS, lambda final: -final, run)
    assert found.lr == pytest.approx(0.3)


def test_of_equally_good_rates_the_middle_one_is_taken_and_the_others_are_told():
    found = tuned({-1: [1.0], 0: [1.0], 1: [1.0]})
    assert found.lr == 0.1
    assert (found.range.low, found.range.high) == (pytest.approx(0.1 / 3), pytest.approx(0.3))


def test_a_rate_that_is_best_with_one_seed_only_is_not_taken():
    found = tuned({0: [0.50, 0.40, 0.45], 1: [0.45, 0.45, 0.45]})
    assert found.lr == 0.1
    assert (found.range.low, found.range.high) == (0.1, pytest.approx(0.3))


def test_a_tie_does_not_walk_the_grid_to_its_edge():
    plans = []
    falling = {place: [1 - 0.1 * place, 1 + 0.1 * place, 1.0] for place in range(-3, 4)}  # with the first seed only
    assert tuned(falling, plans).lr == 0.1
    assert {place_of(plan, 0.1) for plan in plans} == {-1, 0, 1}


def test_what_is_better_with_every_seed_is_taken_however_much_the_seeds_differ():
    found = tuned({0: [1.5, 9.5, 4.5], 1: [1.4, 9.4, 4.4], 2: [1.7, 9.7, 4.7]})
    assert found.lr == pytest.approx(0.3)
    assert found.range == RateRange(found.lr, found.lr)


def test_a_rate_nearer_to_the_center_is_not_taken_where_one_of_its_runs_failed():
    assert tuned({-1: [0.5], 0: [0.4, None, 0.4], 1: [0.9]}).lr == pytest.approx(0.1 / 3)


def test_the_rest_of_the_seeds_is_asked_only_where_the_noise_decides():
    clear, unclear = [], []
    tuned({-1: [0.9], 0: [0.5], 1: [0.7]}, clear)
    tuned({-1: [0.9], 0: [0.5, 0.5, 0.5], 1: [0.4, 0.55, 0.4]}, unclear)
    assert {plan.seed for plan in clear} == {7, 8}
    assert len(clear) == 3 + 2  # the edge that came last is not tried again
    assert {plan.seed for plan in unclear} == {7, 8, 9}
    assert len(unclear) == 3 + 2 + 2


def test_a_third_seed_can_overrule_the_second():
    assert tuned({0: [0.5], 1: [0.4, 0.51, 0.4], 2: [0.6]}).lr == pytest.approx(0.3)


def test_no_schedule_asks_for_more_before_its_runs_have_ended():
    waves = []

    def run(wave):
        waves.append(len(wave))
        return bowl([0.12, 0.12, 0.12], [])(wave)

    tuned_rates(3, 0.1, SEEDS, identity, run)
    assert waves == [9, 6]


def test_no_run_is_asked_for_twice():
    plans = []
    tuned_rates(2, 0.1, SEEDS, identity, bowl([1e-9, 1e9], plans))
    assert len(plans) == len(set(plans))


@given(st.integers(0, 2**31), st.integers(1, 1000))
def test_no_seed_that_tunes_is_scored(seed, scored):
    assert not set(tuning_seeds(seed)) & set(range(seed + 1, seed + 1 + scored))


def test_scores_are_within_the_noise_unless_they_are_worse_by_more_than_the_standard_error():
    # the differences from the best are 1 and 3, 2 on average, with the standard error 1; and -1 and 5, with 3
    assert within_noise({0: [1.0, 1.0], 1: [2.0, 4.0]}) == [0]
    assert within_noise({0: [1.0, 1.0], 1: [0.0, 6.0]}) == [0, 1]
    # three seeds: 0, 3 and 3, 2 on average, with the standard error 1; and -1, 2 and 2, with 1 on both sides
    assert within_noise({0: [1.0, 1.0, 1.0], 1: [1.0, 4.0, 4.0]}) == [0]
    assert within_noise({0: [1.0, 1.0, 1.0], 1: [0.0, 3.0, 3.0]}) == [0, 1]


def test_what_failed_with_a_seed_is_not_within_the_noise():
    assert within_noise({0: [1.0, math.inf], 1: [5.0, 5.0]}) == [1]
    assert within_noise({0: [math.inf, math.inf]}) == []


SCORES = st.dictionaries(
    st.integers(-3, 3), st.lists(st.integers(-50, 50).map(float), min_size=3, max_size=3), min_size=1
)


@given(SCORES, st.sampled_from([0.25, 2.0, 64.0]), st.integers(-100, 100))
def test_scaling_and_shifting_scores_leaves_the_noise_where_it_is(scores, factor, shift):
    moved = {place: [factor * (score + shift) for score in row] for place, row in scores.items()}
    assert within_noise(moved) == within_noise(scores)


@given(SCORES)
def test_the_best_mean_comes_first_of_what_is_within_the_noise(scores):
    found = within_noise(scores)
    assert sum(scores[found[0]]) == min(map(sum, scores.values()))


@given(
    st.dictionaries(
        st.integers(-3, 3), st.lists(st.one_of(st.none(), st.floats(0, 9)), min_size=3, max_size=3), min_size=7
    )
)
def test_the_rate_taken_is_the_nearest_to_the_center_of_the_range_told(rows):
    found = tuned(rows, center=1.0)
    if found.range is None:
        return
    assert found.range.low <= found.lr <= found.range.high
    if found.range.low <= 1.0 <= found.range.high:
        assert 1 / 3.1 < found.lr < 3.1
