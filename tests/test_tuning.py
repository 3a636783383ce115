"""Which peak rate a schedule is judged at, with made-up runs."""

from __future__ import annotations

import math

import pytest

from lrscout.results import ComparedRun
from lrscout.search.tuning import tuned_rates


def run_of(final, *, status="ok"):
    final = final if status == "ok" else None
    return ComparedRun("cosine", "cosine", 0, 0.1, "tune", status, final, final, final, (), 1.0)


def bowl(best, plans):
    """Runs whose final loss grows with the distance from the best rate, in decades."""

    def run(wave):
        plans.extend(wave)
        return {t: run_of(abs(math.log10(t.peak_lr / best[t.schedule]))) for t in wave}

    return run


def identity(value):
    return value


def test_every_schedule_gets_the_best_rate_of_a_grid_of_its_own():
    plans = []
    found = tuned_rates(2, 0.1, 7, identity, bowl([0.1, 0.25], plans))
    assert found == [0.1, pytest.approx(0.3)]
    assert {plan.seed for plan in plans} == {7}
    assert {plan.role for plan in plans} == {"tune"}
    assert len(plans) == 3 + 4  # 0.3 lay at the edge, and 0.9 was tried beyond it


@pytest.mark.parametrize(("best", "expected"), [(1e-9, 0.1 / 27), (1e9, 2.7)])
def test_a_grid_moves_on_at_most_twice(best, expected):
    plans = []
    assert tuned_rates(1, 0.1, 0, identity, bowl([best], plans)) == [pytest.approx(expected)]
    assert len(plans) == 5


def test_where_every_rate_fails_the_grid_moves_down():
    def run(wave):
        return {t: run_of(1.0, status="ok" if t.peak_lr < 0.02 else "diverged") for t in wave}

    assert tuned_rates(1, 0.1, 0, identity, run) == [pytest.approx(0.1 / 9)]


def test_of_equally_good_rates_the_middle_one_is_taken():
    assert tuned_rates(1, 0.1, 0, identity, lambda wave: {t: run_of(1.0) for t in wave}) == [0.1]


def test_where_more_is_better_the_rate_with_the_most_is_taken():
    def run(wave):
        return {t: run_of(1 - abs(math.log10(t.peak_lr / 0.3))) for t in wave}

    assert tuned_rates(1, 0.1, 0, lambda final: -final, run) == [pytest.approx(0.3)]
