"""A target may have several optimizers, with a loss for each, and optimizers that evaluate the loss themselves."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
import torch
from small_workloads import digest, linear_workload, make_session, steps
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

import lrscout
from lrscout.engine.environment import describe_environment
from lrscout.engine.optimizers import make_optimizers
from lrscout.engine.workload import Workload, make_workload
from lrscout.errors import TargetError, UsageError, WorkloadError
from lrscout.formatting import format_lr
from lrscout.report.paste import rate_lines
from lrscout.report.paste_optimizers import optimizer_lines

BATCHES = [torch.randn(8, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]


class Gan:
    """Two models that play against each other, so that each loss depends on the parameters of both."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.generator, self.critic = nn.Linear(2, 2), nn.Linear(2, 1)
        self.optimizers = {"generator": Adam(self.generator.parameters(), lr=1e-3)}
        self.optimizers["critic"] = SGD(self.critic.parameters(), lr=1e-2)

    def losses(self, batch: Tensor) -> dict[str, Tensor]:
        fake = self.generator(batch.flip(0))
        return {
            "generator": -self.critic(fake).mean(),
            "critic": (self.critic(fake) - self.critic(batch)).mean() + self.critic(batch).square().mean(),
        }

    def train(self, batch: Tensor) -> Tensor:
        losses = self.losses(batch)
        for name, model in (("generator", self.generator), ("critic", self.critic)):
            found = torch.autograd.grad(losses[name], list(model.parameters()), retain_graph=True)
            for parameter, gradient in zip(model.parameters(), found):
                parameter.grad = gradient
        for optimizer in self.optimizers.values():
            optimizer.step()
        return losses["generator"].detach() + losses["critic"].detach()

    def workload(self, **parts: Any) -> Workload:
        model = nn.ModuleDict({"generator": self.generator, "critic": self.critic})
        given = {"model": model, "train_loader": BATCHES, "optimizer": self.optimizers, "step": self.losses}
        return make_workload({**given, **parts})


def test_each_loss_reaches_the_parameters_of_its_own_optimizer_alone() -> None:
    gan, plain = Gan(), Gan()
    found = steps(gan.workload(), 6, lr=1e-2)
    assert found == [float(plain.train(batch)) for batch in (BATCHES * 2)[:6] if _rates(plain, 1e-3, 1e-2)]


def _rates(gan: Gan, generator: float, critic: float) -> bool:
    for optimizer, lr in zip(gan.optimizers.values(), (generator, critic)):
        optimizer.param_groups[0]["lr"] = lr
    return True


def test_a_manual_step_trains_as_it_does_alone() -> None:
    gan, plain = Gan(), Gan()
    found = steps(gan.workload(step=gan.train, manual=True), 6, lr=1e-2)
    assert found == [float(plain.train(batch)) for batch in (BATCHES * 2)[:6]]


@pytest.mark.parametrize("kind", ["losses apart", "manual", "held out", "one loss"])
def test_a_rate_read_off_the_losses_of_opponents_is_never_of_high_confidence(kind: str) -> None:
    gan, held_out = Gan(), kind == "held out"
    parts: dict[str, Any] = {
        "losses apart": {},
        "manual": {"step": gan.train, "manual": True},
        "held out": {"val_loader": BATCHES, "val_step": lambda batch: gan.generator(batch).square().mean()},
        "one loss": {
            "step": lambda batch: (gan.generator(batch) - batch).square().mean() + gan.critic(batch).mean() ** 2
        },
    }[kind]
    found = lrscout.find_lr(gan.workload(**parts), device="cpu", max_steps=150, val_batches=int(held_out)).suggestion
    is_told = any("learns against the other" in doubt for doubt in found.doubts)
    assert is_told == (kind in ("losses apart", "manual"))
    assert not is_told or found.confidence != "high"


def test_one_loss_steps_all_optimizers_of_a_list() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    one = linear_workload(model=copy.deepcopy(model))
    both = linear_workload(model=model, optimizer=[SGD(layer.parameters(), lr=0.1) for layer in model])
    assert steps(both, 5, lr=0.02) == steps(one, 5, lr=0.02, optimizer="sgd")


def test_losses_accumulate_over_micro_batches() -> None:
    joined = [torch.cat(BATCHES[:2])]
    one, two = Gan(), Gan()
    (whole,) = steps(one.workload(train_loader=joined), 1, lr=1e-2)
    (halves,) = steps(two.workload(), 1, lr=1e-2, accumulate=2)
    assert halves == pytest.approx(whole, rel=1e-5)


def test_an_optimizer_that_is_named_moves_while_the_others_keep_their_own_rates() -> None:
    session = make_session(Gan().workload(), optimizer="critic")
    with session.open():
        session.step(0.5)
        assert [group["lr"] for each in session.optimizers for group in each.param_groups] == [1e-3, 0.5]
        (loss,) = session.losses(wait=True)
    assert loss == float(Gan().losses(BATCHES[0])["critic"].detach())  # not the sum


def test_all_rates_keep_their_ratios_by_default() -> None:
    session = make_session(Gan().workload())
    assert session.own_lr == 1e-2
    assert session.group_lrs(1.0) == pytest.approx((0.1, 1.0))


def test_both_models_and_both_optimizers_are_put_back() -> None:
    gan = Gan()
    things = (gan.generator, gan.critic, *gan.optimizers.values())
    before = digest(*things)
    steps(gan.workload(), 3)
    assert digest(*things) == before


@pytest.mark.parametrize(
    ("given", "wanted", "said"),
    [
        ([SGD, Adam], "adam", "Adam"),
        ([SGD, SGD], "2", "SGD 2"),
        ({"one": SGD, "two": SGD}, "TWO", "two"),
        ({"2": SGD, "1": Adam}, "2", "2"),
    ],
)
def test_optimizers_are_chosen_by_name_class_or_number(given: Any, wanted: str, said: str) -> None:
    assert make_optimizers(_with(given), wanted, {}).driven == (said,)


def _with(given: Any) -> Workload:
    def made(kind: type[Optimizer]) -> Optimizer:
        return kind([nn.Parameter(torch.ones(1))], lr=0.1)  # type: ignore[call-arg]

    many = {k: made(v) for k, v in given.items()} if isinstance(given, dict) else [made(kind) for kind in given]
    return Workload(nn.Linear(1, 1), [], optimizer=many)


@pytest.mark.parametrize(("wanted", "said"), [("three", "no optimizer 'three'"), ("sgd", "2 optimizers 'sgd'")])
def test_a_name_that_is_not_there_or_not_alone_is_refused_with_those_there_are(wanted: str, said: str) -> None:
    with pytest.raises(UsageError, match=rf"{said}.*1: one \(SGD\) of 1 parameters; 2: two"):
        make_optimizers(_with({"one": SGD, "two": SGD}), wanted, {})


@pytest.mark.parametrize(
    ("parts", "error", "said"),
    [
        ({"step": lambda batch: {"generator": batch.sum()}}, WorkloadError, "for 'generator', but the optimizers are"),
        ({"optimizer": {"a": 3}}, TargetError, "or several, not 'int'"),
        ({"optimizer": []}, TargetError, "is empty"),
        ({"step": None, "manual": True}, TargetError, "has no step"),
        ({"step": lambda batch: batch.sum(), "manual": True}, WorkloadError, "not stepped any"),
    ],
)
def test_what_does_not_fit_together_is_said(parts: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        steps(Gan().workload(**parts), 1)


@pytest.mark.parametrize("settings", [{"accumulate": 2}, {"clip_norm": 1.0}, {"precision": "fp16"}])
def test_what_a_manual_step_leaves_no_room_for_is_refused(settings: dict[str, Any]) -> None:
    gan = Gan()
    with pytest.raises(UsageError, match="manual"):
        make_session(gan.workload(step=gan.train, manual=True), **settings)


def test_held_out_data_of_a_manual_target_need_a_step_of_their_own() -> None:
    gan = Gan()
    held_out = {"step": gan.train, "manual": True, "val_loader": BATCHES[:1]}
    with pytest.raises(WorkloadError, match="val_step"):
        steps(gan.workload(**held_out), 1, val_batches=1)
    workload = gan.workload(**held_out, val_step=lambda batch: batch.new_tensor(7.0))
    assert steps(workload, 2, val_batches=1) == [7.0, 7.0]


def test_the_groups_and_the_lines_to_paste_have_the_names_of_the_optimizers() -> None:
    environment = describe_environment(make_session(Gan().workload()))
    assert [group["name"] for group in environment["groups"]] == ["generator", "critic"]
    assert optimizer_lines(environment, [1e-4, 1e-3]) == [
        'optimizers["generator"] = torch.optim.Adam(generator.parameters(), lr=1.0e-4)',
        'optimizers["critic"] = torch.optim.SGD(critic.parameters(), lr=1.0e-3)',
    ]


class Around(Optimizer):
    """An optimizer around another one, which it is given, as published versions of SAM are."""

    def __init__(self, params: Any, base: Any, rho: float = 0.05, **more: Any) -> None:
        super().__init__(params, {"rho": rho, **more})
        self.base = base(self.param_groups, **more)


def test_the_line_to_paste_says_what_an_optimizer_around_another_one_has_besides() -> None:
    workload = linear_workload(optimizer=lambda params: Around(params, SGD, lr=0.1, momentum=0.9))
    environment = describe_environment(make_session(workload))
    (line,) = optimizer_lines(environment, [0.2])
    assert line == "optimizer = Around(model.parameters(), lr=2.0e-1)  # and its other arguments"


def test_optimizers_are_searched_in_turn_or_together_or_one_of_them() -> None:
    def build() -> dict[str, Any]:
        layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        optimizers = {"first": SGD(layers[0].parameters(), lr=0.05), "last": SGD(layers[2].parameters(), lr=0.1)}
        x = torch.randn(16, 3)
        batches = [(x, x.sum(1, keepdim=True))]
        return {"model": layers, "train_loader": batches, "loss_fn": nn.MSELoss(), "optimizer": optimizers}

    find = partial(lrscout.find_lr, build, device="cpu", max_steps=150)
    together, alone, each = find(), find(optimizer="last"), find(optimizer="each")
    assert len(together.suggestion.groups) == 2
    assert together.result.others == ()
    assert "own rates meanwhile" in alone.suggestion.doubts[-1]
    (other,) = each.result.others
    assert other.result.points == alone.result.points
    assert each.suggestion.lr != together.suggestion.lr
    assert rate_lines(each.record) == [
        f'optimizers["first"] = torch.optim.SGD(first.parameters(), lr={format_lr(each.suggestion.lr)})',
        f'optimizers["last"] = torch.optim.SGD(last.parameters(), lr={format_lr(other.result.suggestion.lr)})',
    ]


def test_lbfgs_has_a_closure_that_evaluates_the_same_batches() -> None:
    workload, plain = linear_workload(optimizer=partial(torch.optim.LBFGS, max_iter=4)), linear_workload()
    optimizer = torch.optim.LBFGS(plain.model.parameters(), lr=0.5, max_iter=4)
    expected = []
    for inputs, target in plain.train_loader:

        def closure(inputs: Tensor = inputs, target: Tensor = target) -> Tensor:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(plain.model(inputs), target)
            loss.backward()
            return loss

        expected.append(float(optimizer.step(closure).detach()))  # type: ignore[arg-type,attr-defined]
    assert steps(workload, 4, lr=0.5) == expected


class Sam(SGD):
    """Sharpness-aware minimization: the step is taken with the gradient a little further up."""

    def first_step(self, zero_grad: bool = False) -> None:
        self.before = [parameter.detach().clone() for parameter in self.param_groups[0]["params"]]
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                parameter += 0.05 * parameter.grad
        if zero_grad:
            self.zero_grad()

    def second_step(self, zero_grad: bool = False) -> None:
        with torch.no_grad():
            for parameter, before in zip(self.param_groups[0]["params"], self.before):
                parameter.copy_(before)
        self.step()


def test_both_steps_of_sam_have_gradients_of_their_own() -> None:
    plain = linear_workload()
    optimizer = Sam(plain.model.parameters(), lr=0.1)
    expected = []
    for inputs, target in plain.train_loader:
        losses = []
        for step in (partial(optimizer.first_step, zero_grad=True), optimizer.second_step):
            optimizer.zero_grad()
            losses.append(nn.functional.mse_loss(plain.model(inputs), target))
            losses[-1].backward()
            step()
        expected.append(float(losses[0].detach()))
    assert steps(linear_workload(optimizer=Sam), 4, lr=0.1) == expected


def test_an_optimizer_with_a_closure_stands_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    pair = [torch.optim.LBFGS(model[0].parameters()), SGD(model[1].parameters())]
    with pytest.raises(UsageError, match=r"(?s)LBFGS.*manual=True"):
        make_session(linear_workload(model=model, optimizer=pair))
    with pytest.raises(UsageError, match="LBFGS"):
        make_session(linear_workload(optimizer=torch.optim.LBFGS), precision="fp16")


class Remembers:
    """A recurrent step whose state goes from one batch to the next."""

    def __init__(self, detaches: bool) -> None:
        torch.manual_seed(4)
        self.cell, self.detaches = nn.RNNCell(2, 3), detaches
        self.state: Tensor | None = None

    def step(self, batch: Tensor) -> Tensor:
        state = self.cell(batch, self.state)
        self.state = state.detach() if self.detaches else state
        return state.square().mean()

    def losses(self, count: int) -> list[float]:
        return steps(Workload(self.cell, BATCHES, step=self.step), count)


def test_a_state_between_batches_is_carried_if_it_is_detached() -> None:
    assert len(set(Remembers(detaches=True).losses(4))) == 4


def test_a_state_that_keeps_its_graph_is_explained() -> None:
    with pytest.raises(RuntimeError, match="second time") as raised:
        Remembers(detaches=False).losses(2)
    assert any("state.detach()" in note for note in raised.value.__notes__)


def test_an_error_of_the_step_is_not_explained_as_something_else() -> None:
    def step(batch: Iterable[Any]) -> Tensor:
        raise RuntimeError("out of cheese")

    with pytest.raises(RuntimeError, match="cheese") as raised:
        steps(Workload(nn.Linear(1, 1), BATCHES, step=step), 1)
    assert not hasattr(raised.value, "__notes__")
