"""--refine: what three probes say against the sweep's suggestion."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lrscout import find_lr
from lrscout.errors import UsageError
from lrscout.results import Probe, Refinement
from lrscout.runs.lr.trainings import describe
from lrscout.search.refinement import (
    HELD_OUT_PENALTY,
    TRAINING_PENALTY,
    measured_horizon,
    probe_rates,
    rate_beyond,
    refined_rate,
)
from lrscout.settings import FindLrSettings, make_settings

CENTER = 1e-2
RATES = probe_rates(CENTER, 1.0)
LOSSES = st.floats(0, 10) | st.none()


def probes(losses, rates=RATES):
    return [Probe(lr, "ok" if loss is not None else "diverged", loss, 215) for lr, loss in zip(rates, losses)]


def refined(losses, initial=2.0, price=HELD_OUT_PENALTY["decay"], rates=RATES):
    return refined_rate(CENTER, probes(losses, rates), initial, price)


def test_probes_stand_half_a_decade_on_either_side():
    assert pytest.approx((10**-2.5, 10**-2, 10**-1.5)) == RATES


@given(st.floats(1e-6, 10), st.floats(1e-6, 100))
def test_no_probe_goes_above_half_the_divergence(center, divergence):
    rates = probe_rates(center, divergence)
    assert max(rates) <= 0.5 * divergence or max(rates) <= center * 10**0.5
    assert all(rate <= 0.5 * divergence for rate in rates)
    assert list(rates) == sorted(set(rates))


def test_where_the_lowest_rate_is_best_the_next_training_looks_lower():
    assert rate_beyond(probes([1.0, 1.2, 1.3]), 2.0, 1.0) == pytest.approx(RATES[0] / 10**0.5)


def test_where_the_highest_rate_is_best_the_next_training_looks_higher_but_not_near_the_divergence():
    assert rate_beyond(probes([1.3, 1.2, 1.0]), 2.0, 1.0) == pytest.approx(RATES[2] * 10**0.5)
    assert rate_beyond(probes([1.3, 1.2, 1.0]), 2.0, RATES[2] * 4) is None


def test_where_the_best_lies_within_no_more_trainings_are_made():
    assert rate_beyond(probes([1.2, 1.0, 1.3]), 2.0, 1.0) is None
    assert rate_beyond(probes([None, None, None]), 2.0, 1.0) is None
    assert rate_beyond(probes([2.0, 2.1, 2.2]), 2.0, 1.0) is None  # nothing was learned


def test_the_walk_beyond_the_edge_ends_after_two_trainings():
    rates = tuple(1e-2 * 10 ** (k / 2) for k in range(5))
    assert rate_beyond(probes([1.0, 1.1, 1.2, 1.3], rates[:4]), 2.0, 100.0) is not None
    assert rate_beyond(probes([1.0, 1.1, 1.2, 1.3, 1.4], rates), 2.0, 100.0) is None


def test_equal_probes_leave_the_suggestion_alone():
    assert refined([1.0, 1.0, 1.0]) == CENTER


def test_probes_that_learn_nothing_leave_the_suggestion_alone():
    assert refined([2.5, 2.0, None]) == CENTER


def test_a_clearly_better_probe_moves_the_suggestion_to_it():
    assert refined([1.5, 1.2, 0.8]) == pytest.approx(RATES[2])
    assert refined([0.8, 1.2, 1.5]) == pytest.approx(RATES[0])


def test_a_gain_that_does_not_pay_for_the_distance_leaves_the_suggestion_alone():
    tiny = 1.0 - 1e-5
    assert refined([1.0, 1.0, tiny]) == pytest.approx(CENTER, rel=0.03)


def test_the_less_a_probe_has_to_say_the_less_it_moves_the_suggestion():
    prices = (HELD_OUT_PENALTY["decay"], HELD_OUT_PENALTY["constant"], TRAINING_PENALTY)
    moved = [math.log10(refined([1.3, 1.0, 0.85], price=price) / CENTER) for price in prices]
    assert moved[0] > moved[1] > moved[2] > 0


def test_a_probe_that_failed_counts_as_having_learned_nothing():
    assert refined([1.0, 0.9, None]) <= CENTER


def test_a_suggestion_too_near_the_divergence_is_moved_below_it():
    rates = probe_rates(CENTER, CENTER)
    assert refined([1.0, 0.9], rates=rates) <= 0.5 * CENTER * 1.001


@given(st.lists(LOSSES, min_size=3, max_size=3), st.floats(0, 2))
def test_the_refined_rate_lies_between_the_probes(losses, price):
    assert RATES[0] * 0.999 <= refined(losses, price=price) <= RATES[-1] * 1.001


@given(st.lists(st.floats(0.1, 5), min_size=3, max_size=3), st.floats(0.01, 100), st.floats(-50, 50))
def test_scale_and_shift_of_the_loss_change_nothing(losses, scale, shift):
    moved = refined([loss * scale + shift for loss in losses], initial=2.0 * scale + shift)
    assert moved == pytest.approx(refined(losses), rel=0.05)


def test_longer_probes_speak_for_their_own_length():
    assert (measured_horizon(215), measured_horizon(5000)) == (400, 5000)


@pytest.mark.parametrize(
    ("text", "steps", "seconds"), [("600", 600, 0.0), ("90s", None, 90.0), ("2m", None, 120.0), ("1.5h", None, 5400.0)]
)
def test_a_budget_is_steps_or_a_time(text, steps, seconds):
    budget = FindLrSettings(refine=text).refine_budget
    assert (budget.steps, budget.seconds) == (steps, seconds)


def test_steps_may_be_a_number_in_a_recipe_and_in_python():
    assert make_settings(FindLrSettings, {"refine": 650}).refine == "650"
    with pytest.raises(UsageError, match="fewer than 200 steps"):
        make_settings(FindLrSettings, {"refine": 100})


@pytest.mark.parametrize("text", ["599", "0", "-5", "m", "5 apples", "", "nan", "infs", "-3s"])
def test_a_budget_that_cannot_be_used_is_refused_before_anything_runs(text):
    with pytest.raises(UsageError, match="--refine"):
        make_settings(FindLrSettings, {"refine": text})


@pytest.mark.parametrize(
    ("losses", "after", "told"),
    [
        ((1.5, 1.2, 0.8), 2e-2, "; moved by a factor of 2 from 1.0e-2"),
        ((1.3, 1.0, 1.2), CENTER, "; not moved from 1.0e-2"),
        ((2.5, 3.0, None), CENTER, "; not moved from 1.0e-2, since none got below the initial 2.000"),
    ],
)
def test_what_the_probes_say_is_told_in_words(losses, after, told):
    refinement = Refinement(CENTER, after, 400, "held-out loss", 2.0, tuple(probes(losses, RATES)))
    assert describe(refinement).endswith(told)


# With a real workload


def regression(held_out: bool) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 5, generator=generator)
    data = TensorDataset(inputs, inputs @ torch.arange(5.0).unsqueeze(1))
    torch.manual_seed(0)
    parts: dict[str, Any] = {
        "model": nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1)),
        "train_loader": DataLoader(data, 16, shuffle=True, generator=generator),
        "loss_fn": nn.MSELoss(),
    }
    return {**parts, "val_loader": DataLoader(data, 48)} if held_out else parts


@pytest.mark.parametrize(("held_out", "metric"), [(True, "held-out loss"), (False, "training loss")])
def test_refining_trains_around_the_suggestion_and_puts_everything_back(held_out, metric):
    target = regression(held_out)
    before = [parameter.clone() for parameter in target["model"].parameters()]
    plain = find_lr(target, device="cpu")
    result = find_lr(target, device="cpu", refine="600")
    found = result.result.refinement
    assert found.metric == metric
    assert [probe.status for probe in found.probes] == ["ok"] * 3
    assert found.probes[1].lr == pytest.approx(plain.suggestion.lr) == found.before
    assert min(probe.loss for probe in found.probes) < found.initial
    assert result.suggestion.lr == pytest.approx(found.after) == result.result.uses["decay"]
    assert result.result.uses["constant"] == plain.result.uses["constant"]
    assert result.result.steps == plain.result.steps + 600
    assert all(map(torch.equal, before, target["model"].parameters()))


def test_a_time_too_short_takes_the_least_steps_and_says_so():
    result = find_lr(regression(True), device="cpu", refine="0.001s")
    assert [probe.steps for probe in result.result.refinement.probes] == [200] * 3
    assert "0.001s" in result.warnings[0]


def test_a_record_with_a_refinement_reads_back(tmp_path: Path):
    from lrscout.records import from_json

    result = find_lr(regression(True), device="cpu", refine="600")
    assert from_json(result.to_json()).result == result.result


def test_a_refinement_in_which_nothing_was_learned_leaves_low_confidence() -> None:
    target = regression(True)
    data = TensorDataset(torch.randn(48, 5), 1e-6 * torch.randn(48, 1))  # what fits the training data cannot fit these
    with torch.no_grad():
        target["model"][2].weight.zero_()
        target["model"][2].bias.zero_()
    result = find_lr({**target, "val_loader": DataLoader(data, 48)}, device="cpu", refine="600")
    assert result.suggestion.confidence == "low"
    assert "--refine" in result.suggestion.doubts[-1]
