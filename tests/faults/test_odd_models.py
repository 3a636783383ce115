"""Unusual models, optimizers and losses train as in a plain loop, or are refused with what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from plain_loop import swept, trained_by_hand
from small_workloads import digest, linear_workload, make_session, steps
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import DataLoader, TensorDataset

import lrscout
from lrscout.attached.gradients import GradientSum
from lrscout.errors import LrscoutError, UsageError, WorkloadError

INPUTS = torch.randn(64, 6, generator=torch.Generator().manual_seed(3))
TARGETS = (INPUTS.sum(1) > 0).long()
MakeModel = Callable[[], nn.Module]
MakeOptimizer = Callable[[nn.Module], Optimizer]


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))


def build(
    make_model: MakeModel = dense,
    make_optimizer: MakeOptimizer = lambda model: SGD(model.parameters(), lr=0.1),
    inputs: Tensor = INPUTS,
    change: Callable[[Tensor, nn.Module], Any] | None = None,
) -> Mapping[str, Any]:
    """A workload whose loss is changed by `change`."""
    model = make_model()

    def step(batch: Any) -> Any:
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        return loss if change is None else change(loss, model)

    loader = DataLoader(TensorDataset(inputs, TARGETS), batch_size=8, shuffle=True)
    return {"model": model, "train_loader": loader, "step": step, "optimizer": make_optimizer(model)}


# --- models


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 2))
    model[2].weight = model[0].weight
    return model


def normalized(normalize: Callable[[nn.Module], Any]) -> nn.Module:
    model = dense()
    normalize(model[0])
    return model


def partly_frozen() -> nn.Module:
    model = dense()
    model[0].requires_grad_(False)
    return model


def lazy() -> nn.Module:
    model = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(2))
    model(INPUTS)
    return model


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 8, dtype=torch.complex64), nn.Linear(8, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs.to(torch.complex64)).abs())


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Embedding(5, 8, sparse=True), nn.Linear(8, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs[:, 0].abs().long().clamp(max=4)))


def batch_normalized() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


class Unprintable(nn.Sequential):
    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no state")


MODELS: dict[str, Callable[[], Mapping[str, Any]]] = {
    "tied weights": partial(build, tied),
    "weight norm": partial(build, partial(normalized, nn.utils.parametrizations.weight_norm)),
    "spectral norm": partial(build, partial(normalized, nn.utils.parametrizations.spectral_norm)),
    "partly frozen": partial(build, partly_frozen),
    "lazy, but run once": partial(build, lazy),
    "complex weights": partial(build, Complex),
    "sparse gradients": partial(build, Sparse),
    "sparse gradients alone": partial(
        build, Sparse, lambda model: torch.optim.SparseAdam(model.body.parameters(), lr=0.1)
    ),
    "batch norm": partial(build, batch_normalized),
    "float64": partial(build, lambda: dense().double(), inputs=INPUTS.double()),
    "bf16 weights": partial(build, lambda: dense().bfloat16(), inputs=INPUTS.bfloat16()),
    "scripted": partial(build, lambda: torch.jit.script(dense())),
    "no text and no state": partial(build, lambda: Unprintable(nn.Linear(6, 2))),
    "an optimizer over more than the model": partial(
        build, dense, lambda model: SGD([*model.parameters(), nn.Parameter(torch.zeros(3))], lr=0.1)
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", [*MODELS, pytest.param("compiled", marks=pytest.mark.slow)])
def test_a_model_of_any_kind_trains_as_in_a_plain_loop(kind: str, one_thread: None) -> None:
    made = MODELS.get(kind, partial(build, lambda: torch.compile(dense(), backend="eager")))
    rates, losses = swept(made)
    assert (rates, losses) == trained_by_hand(made)
    assert len(losses) == 20
    assert len(set(losses)) > 10


def frozen() -> nn.Module:
    return dense().requires_grad_(False)


def not_finite() -> nn.Module:
    model = dense()
    nn.init.constant_(model[0].weight, torch.nan)
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(build, frozen), "The loss does not depend on any parameter that requires grad."),
        (lambda: {**build(frozen), "optimizer": None}, "No parameter of the model requires grad."),
        (partial(build, dense, lambda model: SGD(dense().parameters(), lr=0.1)), "receives a gradient from the loss"),
        (partial(build, lambda: nn.Sequential(nn.LazyLinear(2))), "The lazy parameter '0.weight' has no shape yet."),
        (partial(build, lambda: dense().to("meta")), "is on the meta device and has no values"),
    ],
)
def test_a_model_in_which_nothing_can_be_trained_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        lrscout.find_lr(make, device="cpu")


def test_a_model_that_is_not_finite_gets_no_rate() -> None:
    suggestion = lrscout.find_lr(partial(build, not_finite), device="cpu").suggestion
    assert suggestion.lr is None
    assert "non-finite at 1.0e-7, the very first step" in suggestion.reason


def test_the_noise_of_complex_gradients_has_their_imaginary_parts() -> None:
    parameter = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    parameter.grad = torch.tensor([3 + 4j, 1j])
    found = GradientSum()
    found.note(SGD([parameter], lr=0.1))
    assert found.totals() == (1, pytest.approx(26.0), pytest.approx(26.0))


# --- optimizers


class Sign(Optimizer):
    """Written by hand: steps by the signs of the gradients."""

    def __init__(self, parameters: Any, lr: Any = 0.1) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= group["lr"] * parameter.grad.sign()


class Wrapping(Optimizer):
    """Hands everything on to another optimizer, and never calls Optimizer.__init__."""

    def __init__(self, inner: Optimizer) -> None:
        self.inner, self.param_groups, self.state, self.defaults = inner, inner.param_groups, inner.state, {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)


class Lookahead(Optimizer):
    """Keeps slow weights of its own, as an attribute."""

    def __init__(self, inner: Optimizer) -> None:
        super().__init__(inner.param_groups, inner.defaults)
        self.inner, self.count = inner, 0
        self.slow = [[parameter.detach().clone() for parameter in group["params"]] for group in self.param_groups]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self.inner.step()
        self.count += 1
        if self.count % 5 == 0:
            for group, slow in zip(self.param_groups, self.slow):
                for parameter, kept in zip(group["params"], slow):
                    parameter.copy_(kept.lerp_(parameter, 0.5))


def two_groups(model: nn.Module) -> Optimizer:
    return SGD([{"params": model[0].parameters(), "lr": 0.01}, {"params": model[2].parameters()}], lr=0.1, momentum=0.9)


OPTIMIZERS: dict[str, MakeOptimizer] = {
    "a tensor as rate": lambda model: AdamW(model.parameters(), lr=torch.tensor(0.1)),
    "fused": lambda model: AdamW(model.parameters(), fused=True),
    "foreach": lambda model: AdamW(model.parameters(), foreach=True),
    "maximizing": lambda model: SGD(model.parameters(), lr=0.1, maximize=True),
    "two groups": two_groups,
    "an empty group": lambda model: SGD([{"params": []}, {"params": model.parameters()}], lr=0.1),
    "written by hand": lambda model: Sign(model.parameters()),
    "wrapping another": lambda model: Wrapping(SGD(model.parameters(), lr=0.1)),
    "with weights of its own": lambda model: Lookahead(SGD(model.parameters(), lr=0.1)),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_of_any_kind_trains_as_in_a_plain_loop(kind: str, one_thread: None) -> None:
    made = partial(build, dense, OPTIMIZERS[kind])
    assert swept(made) == trained_by_hand(made)


def test_weights_of_an_optimizers_own_come_back() -> None:
    workload = linear_workload()
    optimizer = Lookahead(SGD(workload.model.parameters(), lr=0.1))
    slow, before = optimizer.slow, digest(optimizer.slow)
    first = steps(linear_workload(model=workload.model, optimizer=optimizer), 12)
    assert (optimizer.slow is slow, digest(slow), optimizer.count) == (True, before, 0)
    assert steps(linear_workload(model=workload.model, optimizer=optimizer), 12) == first


class WithoutRate(Optimizer):
    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"rate": 0.1})


def at_rate(rate: Any) -> MakeOptimizer:
    def make(model: nn.Module) -> Optimizer:
        optimizer = SGD(model.parameters(), lr=0.1)
        optimizer.param_groups[0]["lr"] = rate
        return optimizer

    return make


def without_groups(model: nn.Module) -> Optimizer:
    optimizer = SGD(model.parameters(), lr=0.1)
    optimizer.param_groups.clear()
    return optimizer


REFUSED: dict[str, tuple[MakeOptimizer, str]] = {
    "no rate": (lambda model: WithoutRate(model.parameters()), "a parameter group without a learning rate"),
    "a negative rate": (at_rate(-1.0), "a parameter group with a learning rate of -1.0"),
    "a word": (at_rate("auto"), "a parameter group with a learning rate of 'auto'"),
    "text": (at_rate("0.1"), "a parameter group with a learning rate of '0.1'"),
    "a list": (at_rate([0.1]), r"a parameter group with a learning rate of \[0.1\]"),
    "no groups": (without_groups, "SGD has no parameters."),
    "empty groups": (lambda model: SGD([{"params": []}], lr=0.1), "SGD has no parameters."),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_optimizer_that_cannot_be_driven_is_refused_with_the_reason(kind: str) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(UsageError, match=message) as caught:
        make_session(linear_workload(optimizer=make(linear_workload().model)))
    assert caught.value.hint


def test_a_batch_size_cannot_be_measured_with_an_optimizer_that_hides_its_steps() -> None:
    def make(batch_size: int) -> Any:
        parts = build(dense, OPTIMIZERS["wrapping another"])
        return {**parts, "train_loader": DataLoader(parts["train_loader"].dataset, batch_size)}

    with pytest.raises(UsageError, match=r"Wrapping does not call Optimizer\.__init__"):
        lrscout.find_batch_size(make, device="cpu", max=8, min=4, isolate="never")


# --- losses


LOSSES: dict[str, Callable[[Tensor, nn.Module], Any]] = {
    "negative": lambda loss, model: loss - 5,
    "of one entry": lambda loss, model: loss.reshape(1),
    "bf16": lambda loss, model: loss.bfloat16(),
    "float64": lambda loss, model: loss.double(),
    "large": lambda loss, model: loss * 1e30,
    "tiny": lambda loss, model: loss * 1e-30,
    "beside a constant of 1e30": lambda loss, model: loss + 1e30,
    "a constant": lambda loss, model: loss * 0 + 3,
    "zero": lambda loss, model: loss * 0,
}


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_of_any_size_trains_as_in_a_plain_loop(kind: str, one_thread: None) -> None:
    made = partial(build, dense, OPTIMIZERS["written by hand"], change=LOSSES[kind])
    assert swept(made) == trained_by_hand(made)


@pytest.mark.parametrize("kind", ["zero", "a constant", "beside a constant of 1e30"])
def test_a_loss_that_does_not_move_gets_no_rate(kind: str) -> None:
    made = partial(build, change=LOSSES[kind])
    suggestion = lrscout.find_lr(made, device="cpu", steps=40, max_steps=40).suggestion
    assert suggestion.lr is None
    assert "the loss may not depend on the parameters that the optimizer trains" in suggestion.reason


def backward_first(loss: Tensor, model: nn.Module) -> Tensor:
    loss.backward(retain_graph=True)
    return loss


WRONG: dict[str, tuple[Callable[[Tensor, nn.Module], Any], str, str]] = {
    "detached": (lambda loss, model: loss.detach(), "does not depend on any parameter", ".detach()"),
    "an integer tensor": (lambda loss, model: loss.long(), "does not depend on any", "It is of type torch.int64"),
    "a comparison": (lambda loss, model: loss > 1, "does not depend on any parameter", "It is of type torch.bool"),
    "complex": (lambda loss, model: loss.to(torch.complex64), "must be real, not complex", ".abs()"),
    "sparse": (lambda loss, model: loss.reshape(1).to_sparse(), "must be dense, not torch.sparse_coo", ".to_dense()"),
    "of a batch": (lambda loss, model: loss.expand(8), r"must be a scalar, but has shape \(8,\)", ".mean()"),
    "empty": (lambda loss, model: loss.reshape(1)[:0], r"must be a scalar, but has shape \(0,\)", ".mean()"),
    "a number": (lambda loss, model: 3, "must be a tensor, not 'int'", "not its .item()"),
    "an array": (lambda loss, model: loss.detach().numpy(), "must be a tensor, not 'ndarray'", "the tensor itself"),
    "nothing": (lambda loss, model: None, "must be a tensor, not 'NoneType'", "return statement"),
    "after backward": (backward_first, "called backward", "lrscout calls backward"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_loss_that_cannot_be_used_is_told_with_what_to_return(kind: str) -> None:
    change, message, hint = WRONG[kind]
    with pytest.raises(LrscoutError, match=message) as caught:
        swept(partial(build, change=change))
    assert hint in caught.value.hint


def test_a_step_may_clear_the_gradients_that_it_needed_itself() -> None:
    def penalized(loss: Tensor, model: nn.Module) -> Tensor:
        loss.backward(retain_graph=True)
        for parameter in model.parameters():
            parameter.grad.zero_()
        return loss

    made = partial(build, change=penalized)
    assert swept(made) == trained_by_hand(build)


def test_gradients_that_the_target_has_switched_off_are_named() -> None:
    def switched_off() -> Any:
        torch.set_grad_enabled(False)
        return build()

    try:
        with pytest.raises(WorkloadError, match="does not depend on any parameter") as caught:
            swept(switched_off)
    finally:
        torch.set_grad_enabled(True)
    assert "torch.set_grad_enabled(False)" in caught.value.hint
