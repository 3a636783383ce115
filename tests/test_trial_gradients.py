"""Gradients that a session adds up: those of a plain loop, at weights that stay where they are."""

from __future__ import annotations

import weakref
from itertools import cycle

import pytest
import torch
from gradients_by_hand import in_metric, totals
from small_workloads import digest, make_net, random_digest
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lrscout.engine.trials.bench import Bench
from lrscout.engine.trials.source import Source
from lrscout.errors import WorkloadError
from lrscout.results import Target
from lrscout.search.noise import STILL
from lrscout.settings import FindBatchSizeSettings

pytestmark = pytest.mark.usefixtures("one_thread")

LR = 0.05
REAL, STILL_STEPS, SIZE = 3, 5, 8
INPUTS = torch.randn(100, 6, generator=torch.Generator().manual_seed(5))
LABELS = (INPUTS.sum(1) > 0).long()


def make_model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))


def build(batch_size: int = SIZE, make=torch.optim.SGD) -> dict:
    model = make_model()
    loader = DataLoader(TensorDataset(INPUTS, LABELS), batch_size)
    optimizer = make(model.parameters(), lr=LR)
    return {"model": model, "train_loader": loader, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}


def make_bench(target, own_process=True, **settings) -> Bench:
    made = FindBatchSizeSettings(device="cpu", **settings)
    return Bench(Source(Target(None), "batch_size", 0, live=target), made, own_process=own_process)


def found(target, **settings) -> tuple[int, float, float]:
    with make_bench(target, **settings).gradient_session(SIZE) as session:
        for _ in range(REAL):
            session.step(LR)
        session.begin_gradients()
        for _ in range(STILL_STEPS):
            session.step(STILL * LR)
        return session.end_gradients()


def by_hand(accumulate=1, clip_norm=None, dtype=None, make=torch.optim.SGD) -> tuple[int, float, float]:
    model, batches = make_model(), cycle(DataLoader(TensorDataset(INPUTS, LABELS), SIZE, drop_last=True))
    optimizer = make(model.parameters(), lr=LR)
    gradients = []
    for step in range(REAL + STILL_STEPS):
        optimizer.param_groups[0]["lr"] = LR if step < REAL else STILL * LR
        optimizer.zero_grad()
        for _ in range(accumulate):
            inputs, labels = next(batches)
            with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                loss = nn.functional.cross_entropy(model(inputs), labels)
            (loss / accumulate).backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        if step >= REAL:
            gradients.append(in_metric(model.parameters(), optimizer).double())
        optimizer.step()
    return totals(gradients)


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({}, {}),
        ({"accumulate": 2}, {"accumulate": 2}),
        ({"clip_norm": 0.05}, {"clip_norm": 0.05}),
        ({"precision": "bf16"}, {"dtype": torch.bfloat16}),
        ({"precision": "fp16", "clip_norm": 0.05}, {"dtype": torch.float16, "clip_norm": 0.05}),
    ],
)
@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW])
def test_the_sums_are_those_of_a_plain_loop(settings, same, make):
    sums = found(lambda batch_size: build(batch_size, make), **settings)
    # the scaler multiplies by 65536 before rounding to fp16, so small gradients have more digits than without it
    assert sums == pytest.approx(by_hand(**same, make=make), rel=2e-2 if "precision" in settings else 1e-4)


def test_a_fused_optimizer_that_unscales_by_itself_has_the_same_noise():
    fused = found(
        lambda batch_size: build(batch_size, lambda p, lr: torch.optim.SGD(p, lr, fused=True)), precision="fp16"
    )
    count, squares, square = by_hand(dtype=torch.float16)
    assert (fused[0], fused[2] / fused[1]) == (count, pytest.approx(square / squares, rel=1e-2))


class Twice(torch.optim.Optimizer):
    """Steps as SAM does, with an optimizer of its own, though it does not climb in between."""

    def __init__(self, params, lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self.base = torch.optim.SGD(self.param_groups, lr)
        self.param_groups = self.base.param_groups

    def first_step(self, zero_grad: bool = False) -> None:
        if zero_grad:
            self.zero_grad()

    def second_step(self, zero_grad: bool = False) -> None:
        self.base.step()

    def step(self, closure) -> None:
        raise NotImplementedError


class ByClosure(torch.optim.SGD):
    """Evaluates the loss itself, twice, as LBFGS does."""

    def step(self, closure):
        closure()
        loss = closure()
        super().step()
        return loss


@pytest.mark.parametrize("make", [Twice, ByClosure])
def test_an_optimizer_that_asks_for_gradients_several_times_is_measured_by_the_first(make):
    sums = found(lambda batch_size: build(batch_size, make))
    assert sums == pytest.approx(by_hand(), rel=1e-4)


def test_several_optimizers_have_the_noise_of_all_their_gradients():
    def target(batch_size):
        built = build(batch_size)
        first, _, last = built["model"]
        halves = {"first": torch.optim.SGD(first.parameters(), LR), "last": torch.optim.SGD(last.parameters(), LR)}
        return {**built, "optimizer": halves}

    assert found(target) == pytest.approx(by_hand(), rel=1e-4)


def test_steps_of_no_optimizer_have_no_noise():
    with make_bench(build).gradient_session(SIZE) as session:
        session.begin_gradients()
        with pytest.raises(WorkloadError, match="step was not called"):
            session.end_gradients()


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_the_weights_stay_where_they_are_while_gradients_are_added_up(make):
    built = build(make=make)
    with make_bench(lambda batch_size: built).gradient_session(SIZE) as session:
        for _ in range(REAL):
            session.step(LR)
        before = [parameter.detach().clone() for parameter in built["model"].parameters()]
        session.begin_gradients()
        for _ in range(64):
            session.step(STILL * LR)
        session.end_gradients()
        moved = [(now - then).abs().max().item() for now, then in zip(built["model"].parameters(), before)]
    assert 0 < max(moved) < 64 * 10 * STILL * LR


def test_every_gradient_is_that_of_a_full_batch():
    sizes = []

    def step(model, batch):
        sizes.append(len(batch[0]))
        return model(batch[0]).square().mean()

    def target(batch_size):
        return {**build(batch_size), "step": step, "loss_fn": None}

    with make_bench(target).gradient_session(64) as session:  # of 100 samples
        for _ in range(4):
            session.step(LR)
    assert sizes == [64] * 4


def live():
    """Live objects, and a digest of all that may change in them."""
    net, generator = make_net(), torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(INPUTS, LABELS), 4, shuffle=True, generator=generator)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    given = {"model": net, "train_loader": loader, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
    return given, lambda: (digest(net, optimizer, generator), random_digest(), len(optimizer._optimizer_step_pre_hooks))


def test_live_objects_are_left_as_they_were():
    given, state = live()
    before = state()
    with make_bench(given, own_process=False).gradient_session(SIZE) as session:
        session.step(0.1)
        session.begin_gradients()
        session.step(0.1)
        session.end_gradients()
    assert state() == before


def test_live_objects_are_left_as_they_were_where_it_is_interrupted():
    given, state = live()
    before = state()

    def interrupted():
        with make_bench(given, own_process=False).gradient_session(SIZE) as session:
            session.begin_gradients()
            session.step(0.1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert state() == before


def test_nothing_of_it_stays_in_memory():
    models = []

    def target(batch_size):
        models.append(weakref.ref((built := build(batch_size))["model"]))
        return built

    with make_bench(target).gradient_session(SIZE) as session:
        session.step(LR)
    del session
    assert models[-1]() is None
