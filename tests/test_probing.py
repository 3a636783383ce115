"""Short trainings where a sweep cannot know: where the walk goes, what it gives up, and what it answers."""

from __future__ import annotations

import dataclasses
import math
import random
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lrscout import find_lr
from lrscout.results import Probing, SweepPoint, SweepResult, TrainingPoint, TrainingResult
from lrscout.search.bracket import MAX_LOSS_LEFT, first_probe, why_probe
from lrscout.search.curve import Curve
from lrscout.search.probing import (
    GIVE_UP_AFTER,
    PROBE_STEPS,
    USE_OFFSETS,
    horizon_power,
    probe,
    suggest_probed,
    usable,
    vertex,
)
from lrscout.search.range_test import learning_rates
from lrscout.search.rules import RULES
from lrscout.search.scout import HORIZON_POWER
from lrscout.search.suggestion import by_length, power_of, suggest

INITIAL = 4.0
BEST = 2e-3
AMPLE = 10_000  # steps: no limit for these walks


def bowl(lr, best=BEST, floor=2.0, width=1.0):
    """What a training at this rate comes to: lowest at the best rate, nothing learned a decade and a half away."""
    return min(INITIAL, floor + (INITIAL - floor) * (math.log10(lr / best) / width) ** 2)


def trainer(reach=bowl, noise=0.0, failing=math.inf, begins=lambda lr: 0):
    """Trainings whose loss falls towards `reach(lr)` from the step `begins(lr)` on; the noise is that of the batches,
    alike for every rate."""
    batches = random.Random(0)
    offsets = [batches.gauss(0, noise) for _ in range(2 * PROBE_STEPS)]
    made = []

    def train(lr, steps, gives_up):
        points = []
        for step in range(steps):
            if lr >= failing and step == 5:
                points.append(TrainingPoint(step, lr, math.nan))
                made.append((lr, "non_finite", step + 1))
                return TrainingResult(tuple(points), "non_finite", 0.0)
            fallen = 1 - math.exp(-max(0, step - begins(lr)) / 10)
            points.append(TrainingPoint(step, lr, INITIAL + (reach(lr) - INITIAL) * fallen + offsets[step]))
            if gives_up(points):
                made.append((lr, "given_up", step + 1))
                return TrainingResult(tuple(points), "given_up", 0.0)
        made.append((lr, "ok", steps))
        return TrainingResult(tuple(points), "ok", 0.0)

    train.made = made
    return train


def probed(start, most=AMPLE, **how):
    return probe(trainer(**how), "why", start, INITIAL, most)


@given(st.floats(-1.4, 1.4))
@settings(max_examples=50, deadline=None)
def test_the_lowest_loss_is_found_from_more_than_a_decade_away(distance):
    found = probed(BEST * 10**distance, noise=0.1)
    assert found.best == pytest.approx(BEST, rel=0.15)


def test_a_plateau_far_above_the_best_rate_is_walked_down():
    def plateau(lr):
        return bowl(lr) if lr < BEST * 3 else 3.0  # as flat as the frequencies of single characters

    for start in (10, 30, 100):
        found = probe(trainer(plateau), "why", BEST * start, INITIAL, AMPLE)
        assert found.best == pytest.approx(BEST, rel=0.3)


def test_a_plateau_whose_noise_favours_a_high_rate_is_walked_down_all_the_same():
    def plateau(lr):
        above = 3.0 - 0.02 * math.log10(lr / BEST) if lr < BEST * 300 else INITIAL
        return bowl(lr, width=0.5) if lr < BEST * 2 else above

    found = probe(trainer(plateau), "why", BEST * 100, INITIAL, AMPLE)
    assert found.best == pytest.approx(BEST, rel=0.3)


def test_clearly_worse_trainings_are_given_up_and_the_best_runs_to_its_end():
    train = trainer(noise=0.1)
    probe(train, "why", BEST, INITIAL, AMPLE)
    given = [steps for _, status, steps in train.made if status == "given_up"]
    assert given
    assert min(given) >= GIVE_UP_AFTER * PROBE_STEPS
    assert all(steps < PROBE_STEPS for steps in given)
    assert (BEST, "ok", PROBE_STEPS) in [(pytest.approx(lr), status, steps) for lr, status, steps in train.made]


@given(st.integers(0, 1000), st.floats(-2, 2))
@settings(max_examples=50, deadline=None)
def test_the_steps_allowed_are_never_exceeded(most, distance):
    train = trainer()
    found = probe(train, "why", BEST * 10**distance, INITIAL, most)
    assert sum(steps for *_, steps in train.made) <= most
    assert bool(found.probes) == (most >= PROBE_STEPS)


def test_too_few_steps_for_three_trainings_make_none():
    assert find_lr(hard(), max_steps=250).result.probing is None


def test_where_max_steps_leaves_no_room_for_trainings_a_warning_says_how_many_steps_do():
    def told(**settings):
        return [text for text in find_lr(hard(), **settings).warnings if "--max-steps" in text]

    (warning,) = told(max_steps=200, seeds=2)
    assert warning.startswith("--max-steps 200 leaves no room")
    assert warning.endswith("give at least 330.")
    assert told(max_steps=330) == told(max_steps=200, rule="valley") == told(min_lr=1e-4, max_steps=200) == []


def test_where_every_training_fails_there_is_no_answer():
    found = probed(1.0, failing=0.0)
    made = suggest([with_probes(found)], "scout", "decay", 400)
    assert made.lr is None
    assert "every short training run diverged" in made.reason
    assert found.probes[0].lr >= 1e-6 / 2  # the walk down has an end


def test_the_rates_by_length_of_training_follow_the_trainings():
    table = by_length([with_probes(probed(BEST))], "scout", 1000)
    assert list(table) == ["400", "1000", "4000", "40000"]
    assert len({rates["decay"] for rates in table.values()}) == 1
    assert table["400"]["constant"] > table["40000"]["constant"]
    assert power_of(table, "decay") == 0
    assert power_of(by_length([swept(0.7, noise=0.005)], "scout", 400), "decay") == pytest.approx(HORIZON_POWER)


def test_where_sixty_steps_teach_nothing_the_trainings_are_twice_as_long():
    found = probed(BEST, begins=lambda lr: PROBE_STEPS, noise=0.05)
    assert found.best == pytest.approx(BEST, rel=0.2)
    assert max(p.steps for p in found.probes) == 2 * PROBE_STEPS


def test_a_rate_that_leaves_the_plateau_first_is_not_taken_for_the_best():
    # ten times the best rate learns at once, and less; the best one and its neighbours begin after sixty steps
    found = probed(BEST * 10, begins=lambda lr: 0 if lr > BEST * 5 else PROBE_STEPS, noise=0.05)
    assert found.best == pytest.approx(BEST, rel=0.5)


def test_where_every_training_fails_the_walk_goes_down_until_one_does_not():
    found = probed(1.0, failing=1e-2)
    assert found.best == pytest.approx(BEST, rel=0.3)
    failed = [p for p in found.probes if p.status == "non_finite"]
    assert failed
    assert all(p.loss is None for p in failed)


def test_where_nothing_is_learned_there_is_no_best_rate():
    found = probed(1e-3, most=600, reach=lambda lr: INITIAL + 0.1)
    assert found.best is None
    assert suggest_probed(found, "decay") is None
    assert horizon_power(found, "decay") == HORIZON_POWER  # the sweep's answer, by the sweep's power


def test_the_probes_come_in_rising_rates_with_what_they_reached():
    found = probed(BEST, noise=0.05)
    rates = [p.lr for p in found.probes]
    assert rates == sorted(rates)
    assert min(found.probes, key=lambda p: p.loss).lr == pytest.approx(BEST)


def test_the_same_trainings_give_the_same_answer():
    assert probed(1e-2, noise=0.2) == probed(1e-2, noise=0.2)


@given(st.floats(0.1, 1e3), st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_scaling_loss_and_rates_scales_the_answer(loss_factor, rate_factor):
    plain = trainer(noise=0.1)

    def scaled(lr, steps, gives_up):
        run = plain(lr / rate_factor, steps, lambda points: gives_up([_times(p, loss_factor) for p in points]))
        return TrainingResult(tuple(_times(p, loss_factor) for p in run.points), run.status, 0.0)

    found = probe(scaled, "why", 1e-2 * rate_factor, INITIAL * loss_factor, AMPLE)
    assert found.best == pytest.approx(probed(1e-2, noise=0.1).best * rate_factor, rel=1e-6)


def _times(point, factor):
    return TrainingPoint(point.step, point.lr, point.loss * factor)


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_the_vertex_lies_within_half_a_place_and_on_the_lower_side(below, above):
    place = vertex(below, 0.0, above)
    assert abs(place) <= 0.5
    assert (place > 0) == (above < below) or below == above


def test_the_vertex_of_a_parabola_is_exact():
    assert vertex(*[(x - 0.2) ** 2 for x in (-1, 0, 1)]) == pytest.approx(0.2)


def test_without_a_neighbour_the_vertex_is_the_place_itself():
    assert vertex(None, 0.0, 0.3) == 0.0


def test_usable_rates_end_where_five_percent_are_lost():
    low, high = usable({-2: 0.1, -1: 0.0, 0: 0.0, 1: 0.1}, 0, 0.0)
    assert (low, high) == (pytest.approx(-1.5), pytest.approx(0.5))


def test_usable_rates_do_not_go_beyond_what_was_tried():
    assert usable({0: 0.0, 1: 0.01}, 0, 0.0) == (0, 1)


def test_a_constant_rate_stands_below_the_peak_of_a_decaying_schedule():
    found = probed(BEST)
    decay, constant = (suggest_probed(found, use) for use in ("decay", "constant"))
    assert decay.lr == pytest.approx(found.best * 10 ** USE_OFFSETS["decay"])
    assert constant.lr < decay.lr
    assert decay.low <= decay.lr <= decay.high


# When a sweep asks for them


def swept(left, noise=0.0, diverges=0.1):
    """A sweep that falls to this share of its first loss, and diverges."""
    numbers, points = random.Random(1), []
    for i, lr in enumerate(learning_rates(1e-4, 1.0, 121)):
        depth = (1 - left) * min(1.0, max(0.0, math.log10(lr / 1e-4) / 2))
        loss = (50.0 if lr > diverges else 1 - depth) + numbers.gauss(0, noise)
        points.append(SweepPoint(i, lr, loss, loss))
    return Curve(SweepResult(tuple(points), "diverged", 1.0))


def test_a_sweep_that_learned_nearly_all_needs_no_training():
    assert why_probe(swept(0.1, noise=0.005)) is None


def test_a_sweep_that_left_most_of_the_loss_asks_for_trainings():
    assert why_probe(swept(MAX_LOSS_LEFT - 0.1, noise=0.005)) is None
    assert "% of the loss" in why_probe(swept(MAX_LOSS_LEFT + 0.1, noise=0.005))


def test_a_sweep_with_as_much_noise_as_fall_asks_for_trainings():
    assert "noise" in why_probe(swept(0.2, noise=0.4))


def test_a_sweep_that_never_diverged_asks_for_trainings():
    assert "before the loss diverged" in why_probe(swept(0.1, noise=0.005, diverges=2.0))


def test_an_interrupted_sweep_asks_for_nothing():
    interrupted = SweepResult(swept(0.8).sweep.points, "interrupted", 1.0)
    assert why_probe(Curve(interrupted)) is None


def test_the_first_training_stands_between_the_rules_that_disagree():
    curve = swept(0.7, noise=0.005)
    rates = sorted(RULES[rule](curve, "decay").lr for rule in ("valley", "scout"))
    assert rates[0] <= first_probe(curve) <= rates[1]


def with_probes(found):
    return Curve(dataclasses.replace(swept(0.7, noise=0.005).sweep, probing=found))


def test_the_trainings_have_the_last_word():
    made = suggest([with_probes(probed(BEST))], "scout", "decay", 400)
    assert made.lr == pytest.approx(BEST, rel=0.1)
    assert "short training runs" in made.reason
    assert made.confidence == "high"


def test_a_longer_training_moves_the_peak_that_trainings_found_less_than_one_read_off_a_sweep():
    probed_sweep, plain = with_probes(probed(BEST)), swept(0.7, noise=0.005)
    for use, most in (("decay", 1.0), ("constant", 1.3)):
        near, far = (suggest([probed_sweep], "scout", use, horizon).lr for horizon in (400, 4000))
        assert 1 <= near / far <= most
        near, far = (suggest([plain], "scout", use, horizon).lr for horizon in (400, 4000))
        assert near / far == pytest.approx(10**HORIZON_POWER)


def test_trainings_that_learned_nothing_leave_the_sweeps_answer_with_low_confidence():
    nothing = Probing("why", 1e-3, None, INITIAL, ())
    made = suggest([with_probes(nothing)], "scout", "decay", 400)
    assert made.lr == RULES["scout"](swept(0.7, noise=0.005), "decay").lr
    assert made.confidence == "low"


def test_a_lowest_loss_at_the_edge_of_what_was_tried_is_doubted():
    found = probed(BEST * 10, most=2 * PROBE_STEPS)
    made = suggest([with_probes(found)], "scout", "decay", 400)
    assert made.confidence == "medium"
    assert "edge" in made.doubts[0]


def test_a_loss_that_falls_alike_over_more_than_two_decades_of_rates_is_doubted():
    easy = partial(bowl, best=BEST * 1000, floor=0.0, width=20.0)
    made = suggest([with_probes(probed(BEST * 1000, reach=easy))], "scout", "decay", 400)
    assert made.high / made.low > 100
    assert made.confidence == "medium"
    assert "hardly tells them apart" in made.doubts[0]


def test_a_sweep_that_left_most_and_was_not_probed_is_answered_with_low_confidence():
    made = suggest([swept(0.7, noise=0.005)], "scout", "decay", 400)
    assert made.confidence == "low"
    assert "cannot show" in made.doubts[0]


def test_the_other_rules_do_not_listen_to_them():
    made = suggest([with_probes(probed(BEST))], "valley", "decay", 400)
    assert made.lr == RULES["valley"](swept(0.7, 0.005), "decay").lr


# With a real model


def hard(seed=0):
    """Labels that are hardly to be learned in a hundred steps, so that most of the loss is left."""
    torch.manual_seed(seed)
    x = torch.randn(512, 20)
    y = (x[:, :5].prod(1) > 0).long() + 2 * (x[:, 5] > 0).long()
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4))
    return {
        "model": model,
        "train_loader": DataLoader(TensorDataset(x, y), 32, shuffle=True),
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.Adam(model.parameters()),
    }


def test_a_hard_problem_is_trained_on_within_the_steps_allowed_and_everything_comes_back():
    work = hard()
    before = [p.clone() for p in work["model"].parameters()]
    result = find_lr(work, max_steps=450)
    assert result.result.probing is not None
    assert 150 < result.result.steps <= 450
    assert result.suggestions["scout"] == result.suggestion.lr
    assert all(torch.equal(a, b) for a, b in zip(before, work["model"].parameters()))


def test_max_steps_of_the_sweeps_alone_makes_no_training():
    result = find_lr(hard(), max_steps=150)
    assert result.result.probing is None
    assert result.result.steps <= 150
    assert result.suggestion.confidence != "high"


def test_another_rule_makes_no_training():
    assert find_lr(hard(), rule="valley").result.probing is None


def test_every_seed_is_probed_by_itself():
    result = find_lr(hard(), seeds=2, max_steps=400)
    assert 2 * 150 + 200 < result.result.steps <= 800
    assert "median of 2 seeds" in result.suggestion.reason


@pytest.mark.parametrize(("stop_at", "kept"), [(200, 0), (380, 3)])
def test_ctrl_c_in_a_training_keeps_the_sweeps_and_the_trainings_before_it(stop_at, kept):
    calls = 0

    class Loss(nn.CrossEntropyLoss):
        def forward(self, *args):
            nonlocal calls
            calls += 1
            if calls == stop_at:
                raise KeyboardInterrupt
            return super().forward(*args)

    from lrscout.engine.workload import make_workload
    from lrscout.results import Target
    from lrscout.runs.lr.live import LiveTrainer
    from lrscout.runs.lr.search import search_lr
    from lrscout.settings import FindLrSettings

    work = {**hard(), "loss_fn": Loss()}
    settings, target = FindLrSettings(), Target(None, {}, None)
    record = search_lr(LiveTrainer(make_workload(work), settings, target), settings)
    assert record.status == "interrupted"
    assert record.result.points
    assert (0 if record.result.probing is None else len(record.result.probing.probes)) >= kept
    assert (record.result.probing is None) == (kept == 0)
