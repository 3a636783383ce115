"""The noise scale of gradients: of known noise, of real models, and over a training."""

from __future__ import annotations

import math

import pytest
import torch
from gradients_by_hand import in_metric, totals
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lrscout.attached.gradients import GradientSum
from lrscout.results import NoiseMoment
from lrscout.search.noise import FIRST_STEPS, LAST_STEPS, GradientSums, falls, measured_moments, noise_scale, summarized


def sums_of(gradients):
    total = gradients.sum(0)
    return GradientSums(len(gradients), float(gradients.square().sum()), float(total.square().sum()))


@given(st.floats(1.0, 120.0), st.integers(1, 64), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_known_noise_scale_is_found(noise, samples, seed):
    generator = torch.Generator().manual_seed(seed)
    size, count = 20_000, 64
    mean = torch.ones(size) / math.sqrt(size)  # of norm 1, so that the variance of a sample is the noise scale
    spread = math.sqrt(noise / samples / size)
    gradients = mean + spread * torch.randn(count, size, generator=generator)
    assert noise_scale(sums_of(gradients), samples) == pytest.approx(noise, rel=0.1)


def test_gradients_that_are_all_alike_have_no_noise():
    assert noise_scale(sums_of(torch.ones(8, 10)), 32) == pytest.approx(0)


def test_a_gradient_that_cannot_be_told_from_its_noise_has_no_scale():
    alternating = torch.ones(8, 10) * torch.tensor([1.0, -1.0] * 4).unsqueeze(1)
    assert noise_scale(sums_of(alternating), 32) is None
    assert noise_scale(sums_of(torch.ones(1, 10)), 32) is None
    nearly = torch.eye(64) + 0.001  # a signal, but too weak to be seen over 64 batches
    assert noise_scale(sums_of(nearly), 32) is None


def test_the_scale_of_the_loss_does_not_matter():
    gradients = 0.3 + torch.randn(16, 50, generator=torch.Generator().manual_seed(1))
    assert noise_scale(sums_of(1000 * gradients), 8) == pytest.approx(noise_scale(sums_of(gradients), 8), rel=1e-4)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad])
def test_gradients_are_added_up_in_the_metric_of_the_optimizer(make):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters(), lr=0.0)
    batches = torch.randn(6, 5, 3)
    found = GradientSum()
    hook, seen = None, []
    for number, batch in enumerate(batches):
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        if number == 2:
            hook = optimizer.register_step_pre_hook(found.note)
        if number >= 2:
            seen.append(in_metric(model.parameters(), optimizer))
        optimizer.step()
    hook.remove()
    assert found.totals()[0] == 4
    assert found.totals() == pytest.approx(totals(seen), rel=1e-4)


def test_parameters_without_a_gradient_and_sparse_gradients_do_no_harm():
    table, unused = nn.Embedding(5, 2, sparse=True), nn.Linear(2, 2)
    optimizer = torch.optim.SGD([*table.parameters(), *unused.parameters()], lr=0.1)
    found = GradientSum()
    for word in (1, 1, 3):
        table.weight.grad = None
        table(torch.tensor([word])).sum().backward()
        found.note(optimizer)
    assert found.totals() == (3, pytest.approx(6.0), pytest.approx(10.0))


class FakeTraining:
    """A training whose loss falls by a law, whose noise grows with its steps, and whose steps take so long."""

    def __init__(self, loss=lambda step: 1 / (1 + step / 50), noise=lambda step: 10.0 + step, seconds=0.01):
        self.loss, self.noise, self.seconds = loss, noise, seconds
        self.clock, self.real_steps, self.still_steps = 0.0, 0, 0
        self._losses, self._count = [], None

    def step(self, lr=None):
        self.clock += self.seconds
        if lr == 1.0:
            self.real_steps += 1
        else:
            self.still_steps += 1
        if self._count is not None:
            assert lr < 1e-3  # gradients are those of the same weights
            self._count += 1
        self._losses.append(self.loss(self.real_steps))

    def losses(self, wait=False):
        found, self._losses = self._losses, []
        return found

    def begin_gradients(self):
        self._count = 0

    def end_gradients(self):
        count, self._count = self._count, None
        variance = self.noise(self.real_steps) / 64  # of a batch of 64, where the gradient has norm 1
        return GradientSums(count, count * (1 + variance), count**2 + count * variance)

    def moments(self, seconds, samples=64):
        return list(measured_moments(self, 1.0, samples, seconds, clock=lambda: self.clock))


def test_moments_are_measured_at_doubling_steps_while_the_loss_falls():
    training = FakeTraining()
    moments = training.moments(60)
    assert [moment.step for moment in moments] == [20, 40, 80, 160, 320]
    assert [moment.noise for moment in moments] == pytest.approx([30, 50, 90, 170, 330])
    assert training.real_steps == LAST_STEPS
    settled = FakeTraining(loss=lambda step: max(0.1, 1 - step / 50))
    assert [moment.step for moment in settled.moments(60)] == [20, 40, 80, 160]  # the fourth was no lower any more


def test_the_measurement_keeps_its_time():
    for seconds in (1.0, 3.0, 10.0):
        training = FakeTraining(seconds=0.02)
        moments = training.moments(seconds)
        assert moments
        assert training.clock <= 1.1 * seconds
    hurried = FakeTraining(seconds=0.1)
    (moment,) = hurried.moments(3.0)
    assert moment.step < FIRST_STEPS
    assert moment.samples >= 8 * 64
    assert hurried.clock <= 3.3


def test_a_training_too_slow_to_be_measured_ends_at_once():
    slow = FakeTraining(seconds=5.0)
    assert slow.moments(10.0) == []
    assert slow.clock <= 10.0


def test_a_loss_that_is_not_finite_ends_the_measurement():
    broken = FakeTraining(loss=lambda step: 1.0 if step < 30 else math.nan)
    assert [moment.step for moment in broken.moments(60)] == [20]


def test_small_batches_are_compared_in_larger_numbers():
    assert [moment.samples for moment in FakeTraining().moments(60, samples=16)][:1] == [1024]
    assert [moment.samples for moment in FakeTraining().moments(60, samples=2)][:1] == [128]
    assert [moment.samples for moment in FakeTraining().moments(60, samples=512)][:1] == [4096]


def moment(step, noise, samples=1024):
    return NoiseMoment(step, 1.0, noise, samples)


def test_the_scale_is_the_median_of_the_moments():
    found = summarized(64, [moment(20, 60.0), moment(40, 50.0), moment(80, 2000.0)], None)
    assert (found.scale, found.is_bound) == (60.0, False)
    assert summarized(64, [], None) is None


def test_a_scale_that_no_moment_resolved_is_a_bound():
    found = summarized(64, [moment(20, None), moment(40, None)], None)
    assert (found.scale, found.is_bound) == (4096.0, True)
    mixed = summarized(64, [moment(20, 100.0), moment(40, None), moment(80, None)], None)
    assert mixed.is_bound


def test_the_scale_is_at_most_a_sixteenth_of_the_data_set():
    found = summarized(64, [moment(20, 900.0)], 800)
    assert (found.scale, found.is_bound) == (50.0, False)


def test_a_loss_falls_if_it_lost_a_tenth_of_its_whole_fall():
    assert falls(5.0, [])
    assert falls(5.0, [4.0])
    assert falls(5.0, [4.0, 3.5])
    assert not falls(5.0, [4.0, 3.95])
    assert not falls(5.0, [4.0, 4.5])
    assert not falls(5.0, [6.0, 5.5])  # it is above where it began
