"""The plan of a comparison and what its scores say, with made-up runs."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscout.results import ComparedRun, Metric, TrainingPoint, TrainingResult
from lrscout.schedules import parse_schedules
from lrscout.search.budget import Cost, Plan, fit_to_budget
from lrscout.search.comparison import PlannedRun, began_alike, rank, scored, thinned

HELD_OUT = Metric("held-out loss", "min", True)
TRAINING = Metric("training loss", "min", False)


def run_of(label, seed, final, *, role="score", lr=0.1, status="ok", fingerprint=None):
    fingerprint = fingerprint or f"seed {seed}"
    final = final if status == "ok" else None
    return ComparedRun(label, label, seed, lr, role, status, final, final, final, (), 1.0, fingerprint)


def runs_of_finals(finals):
    """Runs from the finals of every schedule by seed; None: diverged."""
    return [
        run_of(label, seed, final, status="ok" if final is not None else "diverged")
        for label, values in finals.items()
        for seed, final in enumerate(values)
    ]


def ranked(finals, mode="min", **options):
    specs = parse_schedules(list(finals))
    rows, baseline = rank(specs, [0.1] * len(specs), runs_of_finals(finals), mode, **options)
    return {row.label: row for row in rows}, baseline


def verdicts(finals, mode="min", **options):
    rows, _ = ranked(finals, mode, **options)
    return {label: row.verdict for label, row in rows.items()}


def result_of(losses, val_losses=()):
    values = dict(val_losses)
    points = tuple(TrainingPoint(i, 0.1, loss, values.get(i)) for i, loss in enumerate(losses))
    return TrainingResult(points, "ok", 1.0)


def score(result, metric):
    (spec,) = parse_schedules(["cosine"])
    return scored(PlannedRun(0, 1, 0.1, "score"), spec, result, metric, "print")


def test_the_final_metric_is_the_mean_of_the_last_evaluations():
    run = score(result_of([1.0] * 100, [(9, 0.1), (95, 0.4), (99, 0.6)]), HELD_OUT)
    assert (run.final, run.best, run.auc) == (0.5, 0.1, 1.0)


def test_without_held_out_data_the_last_twentieth_of_the_training_loss_stands_in():
    run = score(result_of([float(100 - i) for i in range(100)]), TRAINING)
    assert (run.final, run.best, run.auc) == (3.0, 3.0, 50.5)


def test_a_metric_of_which_more_is_better_has_its_best_at_the_top():
    metric = Metric("accuracy", "max", True)
    assert score(result_of([1.0] * 100, [(9, 0.9), (99, 0.6)]), metric).best == 0.9


def test_a_run_that_ends_beyond_all_bounds_has_diverged():
    run = score(result_of([1e200] * 100), TRAINING)
    assert (run.status, run.final) == ("diverged", None)


def test_a_diverged_run_has_no_final_metric():
    result = TrainingResult((TrainingPoint(0, 0.1, math.nan),), "non_finite", 1.0)
    run = score(result, TRAINING)
    assert (run.status, run.final, run.best, run.auc) == ("non_finite", None, None, None)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=500), st.integers(1, 120))
def test_thinned_points_keep_the_mean_loss_and_the_last_step(losses, most):
    points = result_of(losses).points
    kept = thinned(points, most)
    assert len(kept) <= most
    assert kept[-1].step == len(losses) - 1
    steps = [-1, *(p.step for p in kept)]
    weights = [b - a for a, b in zip(steps, steps[1:])]  # noqa: RUF007
    mean = sum(w * p.loss for w, p in zip(weights, kept)) / len(losses)
    assert mean == pytest.approx(fmean(losses), rel=1e-9, abs=1e-6)


def test_a_schedule_that_beats_all_others_is_best_and_they_are_worse():
    finals = {"constant": [1.0, 1.1, 1.2], "cosine": [0.5, 0.61, 0.7], "wsd": [0.9, 1.0, 1.11]}
    assert verdicts(finals) == {"cosine": "best", "wsd": "worse", "constant": "worse"}
    rows, baseline = ranked(finals)
    assert baseline == "cosine"
    assert list(rows) == ["cosine", "wsd", "constant"]
    assert rows["cosine"].difference is None
    assert rows["constant"].difference.mean == pytest.approx(0.4967, abs=1e-3)
    assert rows["constant"].difference.low < 0.4967 < rows["constant"].difference.high


def test_what_noise_may_explain_is_a_tie():
    finals = {"constant": [0.5, 0.9, 0.4], "cosine": [0.6, 0.5, 0.6]}
    assert verdicts(finals) == {"cosine": "tie", "constant": "tie"}


def test_a_small_difference_is_a_tie_under_a_minimum_effect():
    finals = {"constant": [0.51, 0.61, 0.711], "cosine": [0.5, 0.6, 0.7]}
    assert verdicts(finals)["constant"] == "worse"
    assert verdicts(finals, min_effect=0.02) == {"cosine": "tie", "constant": "tie"}


def test_a_named_baseline_is_what_the_others_are_better_or_worse_than():
    finals = {"constant": [1.0, 1.1, 1.2], "cosine": [0.5, 0.61, 0.7], "wsd": [2.0, 2.1, 2.21]}
    assert verdicts(finals, baseline="constant") == {"cosine": "better", "constant": "baseline", "wsd": "worse"}


def test_where_more_is_better_the_highest_ranks_first():
    finals = {"constant": [0.5, 0.61, 0.7], "cosine": [1.0, 1.1, 1.2]}
    rows, baseline = ranked(finals, "max")
    assert baseline == "cosine"
    assert rows["constant"].difference.mean < 0
    assert verdicts(finals, "max") == {"cosine": "best", "constant": "worse"}


def test_diverged_runs_are_counted_and_never_averaged_in():
    finals = {"constant": [1.0, 1.1, 1.2], "cosine": [0.1, None, 0.1]}
    rows, baseline = ranked(finals)
    assert baseline == "constant"
    assert list(rows) == ["constant", "cosine"]
    assert (rows["cosine"].verdict, rows["cosine"].diverged) == ("diverged", 1)
    assert (rows["cosine"].final.mean, rows["cosine"].final.n) == (pytest.approx(0.1), 2)
    assert rows["constant"].verdict == "best"


def test_where_all_runs_of_all_schedules_diverge_there_is_no_baseline():
    rows, baseline = ranked({"constant": [None] * 3, "cosine": [None] * 3})
    assert baseline is None
    assert [(row.verdict, row.final) for row in rows.values()] == [("diverged", None)] * 2


@pytest.mark.parametrize("seeds", [1, 2])
def test_below_three_seeds_numbers_only_describe(seeds):
    rows, _ = ranked({"constant": [1.0, 1.001][:seeds], "cosine": [0.1, 0.1001][:seeds]})
    assert [row.verdict for row in rows.values()] == ["descriptive"] * 2
    assert rows["cosine"].final.low is None
    assert (rows["constant"].difference.low, rows["constant"].difference.p_adjusted) == (None, None)


def test_a_schedule_with_too_few_runs_keeps_nobody_from_being_best():
    specs = parse_schedules(["constant", "cosine", "wsd"])
    runs = runs_of_finals({"constant": [1.0, 1.1, 1.2], "cosine": [0.5, 0.61, 0.7], "wsd": [2.0, 2.1]})
    found = {row.label: row.verdict for row in rank(specs, [0.1] * 3, runs, "min")[0]}
    assert found == {"cosine": "best", "constant": "worse", "wsd": "descriptive"}


def test_runs_that_began_differently_are_not_paired():
    alike = [run_of("constant", 0, 1.0), run_of("cosine", 0, 2.0), run_of("cosine", 1, 2.0, fingerprint="other")]
    assert began_alike(alike)
    assert not began_alike([*alike, run_of("constant", 1, 1.0)])
    specs = parse_schedules(["constant", "cosine"])
    paired = runs_of_finals({"constant": [1.0, 11.1, 20.9], "cosine": [0.0, 10.0, 20.0]})
    apart = [*paired[:3], *(run_of("cosine", i, 10.0 * i, fingerprint=f"other {i}") for i in range(3))]
    assert {row.verdict for row in rank(specs, [0.1] * 2, paired, "min")[0]} == {"best", "worse"}
    assert {row.verdict for row in rank(specs, [0.1] * 2, apart, "min")[0]} == {"tie"}


def test_identical_schedules_are_rarely_told_apart():
    noise = random.Random(0)
    alarms = 0
    for _ in range(600):
        shared = [noise.gauss(0, 2) for _ in range(5)]
        finals = {name: [s + noise.gauss(0, 1) for s in shared] for name in ("constant", "linear", "cosine", "wsd")}
        alarms += "worse" in verdicts(finals).values()
    assert alarms / 600 < 0.12  # the best is chosen after the fact, for which Holm does not correct


def test_a_budget_gives_up_seeds_before_steps_and_keeps_three():
    cost = Cost(start=0.0, step=0.01, evaluation=0.0)
    plan = Plan(schedules=4, seeds=5, steps=100, evaluations=5, tuned=False, jobs=1)
    fitted = [fit_to_budget(plan, cost, seconds) for seconds in (100, 18, 7, 0.1)]
    assert [(each.steps, each.seeds) for each in fitted] == [(100, 5), (100, 4), (52, 3), (20, 3)]


@given(
    st.floats(0.5, 500), st.integers(2, 8), st.booleans(), st.integers(1, 8), st.integers(10, 500), st.integers(1, 9)
)
def test_what_is_fitted_into_a_budget_takes_no_longer(seconds, schedules, tuned, jobs, steps, seeds):
    cost = Cost(0.1, 0.01, 0.05)
    plan = Plan(schedules=schedules, seeds=seeds, steps=steps, evaluations=5, tuned=tuned, jobs=jobs)
    fitted = fit_to_budget(plan, cost, seconds)
    assert fitted.steps <= steps
    assert min(3, seeds) <= fitted.seeds <= seeds
    assert fitted.seconds(cost) <= seconds or (fitted.steps <= 20 and fitted.seeds <= 3)
