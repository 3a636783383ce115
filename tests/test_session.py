"""A session's step does what the user's own training step would do, at the rate of the sweep."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from small_workloads import Net, digest, linear_workload, make_loader, make_net, make_session, steps
from torch import Tensor, nn

from lrscout.engine.devices import is_cpu
from lrscout.engine.rates import ratios_of
from lrscout.engine.session import PENDING_LIMIT
from lrscout.engine.workload import Workload
from lrscout.errors import LrscoutError, UsageError, WorkloadError

RATES = [1e-3, 1e-2, 1e-1, 1.0, 1e-2, 1e-3]


def plain_losses(workload: Workload, rates: list[float]) -> list[float]:
    """A bare training loop over the same workload, on a copy of its model."""
    model = nn.Linear(3, 1)
    model.load_state_dict(workload.model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    losses = []
    for i, lr in enumerate(rates):
        inputs, target = list(workload.train_loader)[i % 4]
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), target)
        loss.backward()
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_steps_are_those_of_a_bare_training_loop() -> None:
    workload = linear_workload()
    session = make_session(workload, optimizer="sgd", optimizer_arg={"momentum": 0.9})
    with session.open():
        for lr in RATES:
            session.step(lr)
        assert session.losses(wait=True) == plain_losses(linear_workload(), RATES)


def test_two_sessions_with_the_same_seed_are_identical() -> None:
    workload = linear_workload(model=make_net(), train_loader=make_loader(), loss_fn=nn.CrossEntropyLoss())
    first = steps(workload, 12)
    torch.rand(5)
    assert steps(workload, 12) == first
    assert steps(workload, 12, seed=1) != first  # another dropout


def two_groups(model: nn.Module, *rates: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [p], "lr": rate} for p, rate in zip(model.parameters(), rates)])


def test_groups_keep_their_ratios() -> None:
    model = nn.Linear(3, 1)
    optimizer = two_groups(model, 1e-3, 1e-4)
    session = make_session(linear_workload(model=model, optimizer=optimizer))
    with session.open():
        session.step(0.5)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05])
    assert session.group_lrs(2.0) == pytest.approx((2.0, 0.2))
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 1e-4]


def test_tensor_rates_are_filled_and_keep_their_ratios() -> None:
    model = nn.Linear(3, 1)
    rates = [torch.tensor(1e-3), torch.tensor(1e-2)]
    optimizer = two_groups(model, *rates)
    session = make_session(linear_workload(model=model, optimizer=optimizer))
    with session.open():
        session.step(0.5)
        assert [rate.item() for rate in rates] == pytest.approx([0.05, 0.5])
        assert optimizer.param_groups[0]["lr"] is rates[0]
    assert [rate.item() for rate in rates] == pytest.approx([1e-3, 1e-2])


@pytest.mark.parametrize(
    ("groups", "ratios"),
    [
        ([{"lr": 0.1}, {"lr": 0.0}], [1, 0]),
        ([{"lr": 0.0}, {"lr": 0.0}], [1, 1]),
        ([{"lr": 0.0, "initial_lr": 0.2}, {"lr": 0.0, "initial_lr": 0.1}], [1, 0.5]),
        ([{"lr": 0.0, "initial_lr": 0.2, "max_lr": 1.0}, {"lr": 0.0, "max_lr": 4.0}], [0.25, 1]),
        ([{"lr": torch.tensor(2.0)}, {"lr": 0.5}], [1, 0.25]),
    ],
)
def test_ratios_are_of_the_rates_that_the_user_set(groups: list[dict[str, Any]], ratios: list[float]) -> None:
    assert ratios_of(groups) == ratios


def test_a_group_with_rate_zero_is_not_trained() -> None:
    model = nn.Linear(3, 1)
    session = make_session(linear_workload(model=model, optimizer=two_groups(model, 0.1, 0.0)))
    bias, weight = model.bias.clone(), model.weight.clone()
    with session.open():
        session.step(0.5)
        assert torch.equal(model.bias, bias)
        assert not torch.equal(model.weight, weight)


def test_attached_scheduler_is_neither_an_error_nor_stepped() -> None:
    model = nn.Linear(3, 1)
    optimizer = two_groups(model, 0.2, 0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: epoch / 10)  # starts at zero
    before = scheduler.state_dict()
    session = make_session(linear_workload(model=model, optimizer=optimizer))
    with session.open():
        session.step(0.5)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.25])
    assert scheduler.state_dict() == before


class NoRate(torch.optim.Optimizer):
    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": None})


def test_optimizer_that_has_no_sweep_is_refused() -> None:
    with pytest.raises(UsageError, match="without a learning rate"):
        make_session(linear_workload(optimizer=NoRate))


def test_accumulated_gradient_is_the_big_batchs_and_the_loss_the_mean() -> None:
    small = linear_workload()
    big = [tuple(torch.cat(parts) for parts in zip(*small.train_loader))]
    gradients, losses = [], []
    for loader, accumulate in ((small.train_loader, 4), (big, 1)):
        session = make_session(linear_workload(train_loader=loader), accumulate=accumulate)
        with session.open():
            session.step(0.1)
            gradients.append(session.workload.model.weight.grad.clone())
            losses += session.losses(wait=True)
    torch.testing.assert_close(*gradients)
    assert losses[0] == pytest.approx(losses[1])


def gradient_after(rate: float = 0.1, **settings: Any) -> Tensor:
    session = make_session(linear_workload(), **settings)
    with session.open():
        session.step(rate)
        return torch.cat([p.grad.flatten() for p in session.workload.model.parameters()])


def test_gradients_are_clipped() -> None:
    free = gradient_after()
    assert free.norm() > 0.1
    torch.testing.assert_close(gradient_after(clip_norm=0.1), free / free.norm() * 0.1)
    torch.testing.assert_close(gradient_after(clip_value=0.1), free.clamp(-0.1, 0.1))


def test_fp16_gradients_are_clipped_after_unscaling() -> None:
    free = gradient_after(precision="fp16")
    torch.testing.assert_close(gradient_after(precision="fp16", clip_norm=0.1), free / free.norm() * 0.1 / 1)
    assert gradient_after(precision="fp16", clip_value=0.1).abs().max() == pytest.approx(0.1)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_precision_casts_the_forward_pass_only(precision: str, dtype: torch.dtype) -> None:
    seen: list[tuple[torch.dtype, torch.dtype]] = []

    def loss_fn(output: Tensor, target: Tensor) -> Tensor:
        seen.append((output.dtype, target.dtype))
        return nn.functional.mse_loss(output.float(), target)

    workload = linear_workload(loss_fn=loss_fn)
    losses = steps(workload, 3, lr=1e-3, precision=precision)
    assert seen == [(dtype, torch.float32)] * 3
    plain = steps(linear_workload(), 3, lr=1e-3)
    assert losses == pytest.approx(plain, rel=0.02)
    assert losses != plain
    assert workload.model.weight.dtype is torch.float32


def test_fp16_counts_the_steps_that_the_scaler_skips() -> None:
    def step(model: nn.Linear, batch: Any) -> Tensor:
        huge = 1e38 if len(seen) in (1, 2) else 1.0  # times the scale of 65536 it overflows
        seen.append(model.weight.detach().clone())
        return model(batch[0]).float().mean() * 1e-2 * huge

    seen: list[Tensor] = []
    session = make_session(linear_workload(step=step, loss_fn=None), precision="fp16")
    with session.open():
        for _ in range(5):
            session.step(0.1)
        assert all(math.isfinite(loss) for loss in session.losses(wait=True))
    assert session.skipped_steps == 2
    assert [torch.equal(a, b) for a, b in pairwise(seen)] == [False, True, True, False]


def test_fp16_refuses_weights_in_fp16() -> None:
    with pytest.raises(UsageError, match="'weight' is in fp16"):
        make_session(linear_workload(model=nn.Linear(3, 1).half()), precision="fp16")


def test_held_out_loss_is_the_mean_in_eval_mode_after_the_step() -> None:
    net, loader, held_out = make_net(), make_loader(), make_loader(shuffle=False)
    workload = linear_workload(model=net, train_loader=loader, loss_fn=nn.CrossEntropyLoss(), val_loader=held_out)
    session = make_session(workload, 3, optimizer="sgd")
    net.inner.eval()
    with session.open():
        net.inner.eval()
        running = net.norm.running_mean.clone()
        session.evaluate()
        assert torch.equal(net.norm.running_mean, running)
        assert [m.training for m in (net, net.norm, net.drop, net.inner)] == [True, True, True, False]
        session.step(0.1)
        (measured,) = session.losses(wait=True)
        batches = list(held_out)[:3]
        net.eval()
        expected = sum(nn.functional.cross_entropy(net(x), y).item() for x, y in batches) / 3
        assert measured == pytest.approx(expected)


def test_held_out_batches_stay_the_same_from_step_to_step() -> None:
    workload = linear_workload(model=make_net(), train_loader=make_loader(), loss_fn=nn.CrossEntropyLoss())
    shuffled = Workload(workload.model, workload.train_loader, workload.loss_fn, val_loader=make_loader())
    assert len(set(steps(shuffled, 4, lr=0.0, val_batches=2, optimizer="sgd"))) > 1  # batch norm learns even so

    model = nn.Sequential(nn.Linear(6, 2))
    plain = Workload(model, make_loader(), workload.loss_fn, val_loader=make_loader())
    assert len(set(steps(plain, 4, lr=0.0, val_batches=2, optimizer="sgd"))) == 1


def test_modes_come_back_when_evaluation_raises() -> None:
    class Failing(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            if not self.training:
                raise ValueError("mine")
            return super().forward(inputs)

    session = make_session(linear_workload(model=Failing(3, 1), val_loader=linear_workload().train_loader), 1)
    with session.open():
        with pytest.raises(ValueError, match="mine"):
            session.evaluate()
        assert session.workload.model.training


def test_held_out_batches_need_a_loader_that_gives_some() -> None:
    with pytest.raises(UsageError, match="no val_loader"):
        steps(linear_workload(), 1, val_batches=1)
    with pytest.raises(WorkloadError, match="val_loader is empty"):
        steps(linear_workload(val_loader=[]), 1, val_batches=1)


def test_model_in_eval_mode_is_swept_in_train_mode() -> None:
    net = make_net()
    net.eval()
    session = make_session(linear_workload(model=net, train_loader=make_loader(), loss_fn=nn.CrossEntropyLoss()))
    with session.open():
        assert all(module.training for module in net.modules())
    assert not any(module.training for module in net.modules())


def test_frozen_body_left_in_eval_mode_stays_so_during_the_sweep() -> None:
    net = make_net()
    net.norm.eval()
    session = make_session(linear_workload(model=net, train_loader=make_loader(), loss_fn=nn.CrossEntropyLoss()))
    with session.open():
        before = net.norm.running_mean.clone()
        session.step(0.1)
        assert net.training
        assert not net.norm.training
        assert torch.equal(net.norm.running_mean, before)


BAD_LOSSES: list[tuple[Any, str]] = [
    (lambda loss: loss.item(), "must be a tensor, not 'float'"),
    (lambda loss: None, "must be a tensor, not 'NoneType'"),
    (lambda loss: loss.expand(3), r"must be a scalar, but has shape \(3,\)"),
    (lambda loss: loss.detach(), "does not depend on any parameter"),
    (lambda loss: loss.round().long(), "does not depend on any parameter"),
    (lambda loss: loss * 1j, "must be real, not complex"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD_LOSSES)
@pytest.mark.parametrize("late", [0, 2])
def test_loss_that_cannot_be_used_is_named_at_whatever_step(spoil: Any, message: str, late: int) -> None:
    seen: list[Any] = []

    def step(model: nn.Module, batch: Any) -> Any:
        seen.append(batch)
        loss = model(batch[0]).square().mean()
        return spoil(loss) if len(seen) > late else loss

    with pytest.raises(WorkloadError, match=message):
        steps(linear_workload(step=step, loss_fn=None), 4)


def test_loss_of_one_entry_is_a_scalar() -> None:
    workload = linear_workload(loss_fn=lambda output, target: (output - target).square().mean().reshape(1, 1))
    assert steps(workload, 3) == steps(linear_workload(), 3)
    assert make_session(workload).loss(next(iter(workload.train_loader))).shape == ()


def test_frozen_model_with_an_optimizer_of_its_own_is_an_error() -> None:
    model = nn.Linear(3, 1).requires_grad_(False)
    with pytest.raises(WorkloadError, match="does not depend on any parameter"):
        steps(linear_workload(model=model, optimizer=torch.optim.SGD(model.parameters())), 1)


def test_optimizer_over_another_models_parameters_is_an_error() -> None:
    optimizer = torch.optim.SGD(nn.Linear(3, 1).parameters())
    with pytest.raises(WorkloadError, match="No parameter of the optimizer receives a gradient"):
        steps(linear_workload(optimizer=optimizer), 1)


def test_frozen_parameters_in_the_optimizer_do_no_harm() -> None:
    model = nn.Linear(3, 1)
    model.bias.requires_grad_(False)
    losses = steps(linear_workload(model=model, optimizer=torch.optim.Adam(model.parameters())), 3)
    assert len(set(losses)) == 3


def test_lazy_model_is_an_error_until_it_has_shapes() -> None:
    model = nn.LazyLinear(1)
    with pytest.raises(WorkloadError, match="lazy parameter 'weight' has no shape"):
        make_session(linear_workload(model=model))
    model(torch.ones(1, 3))
    assert len(steps(linear_workload(model=model), 2)) == 2


def test_model_on_the_meta_device_is_an_error() -> None:
    with pytest.raises(WorkloadError, match="'weight' is on the meta device"):
        make_session(linear_workload(model=nn.Linear(3, 1, device="meta")))


def test_cpu_with_a_number_is_the_cpu_and_no_accelerator() -> None:
    session = make_session(linear_workload(), device="cpu:0")
    assert session.device == torch.device("cpu")
    assert is_cpu("cpu:0")
    assert not is_cpu("cuda:0")


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "tpu"])
def test_device_that_is_not_there_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"--device {name} cannot be used"):
        make_session(linear_workload(), device=name)


def test_complex_parameters_train() -> None:
    model = nn.Linear(3, 1, dtype=torch.cfloat)
    workload = linear_workload(model=model, loss_fn=lambda out, target: (out - target).abs().square().mean())
    workload = Workload(model, [(x.cfloat(), y) for x, y in workload.train_loader], workload.loss_fn)
    before = digest([p.detach() if not p.is_complex() else torch.view_as_real(p.detach()) for p in model.parameters()])
    assert len(set(steps(workload, 3))) == 3
    after = digest([torch.view_as_real(p.detach()) for p in model.parameters()])
    assert after == before


def test_integer_buffers_and_parameters_come_back() -> None:
    model = nn.Linear(3, 1)
    model.count = nn.Parameter(torch.ones((), dtype=torch.long), requires_grad=False)
    model.register_forward_hook(lambda module, *_: module.count.add_(1) and None)
    steps(linear_workload(model=model), 3)
    assert model.count == 1


def test_short_and_iterable_loaders_last_for_the_whole_sweep() -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter([(torch.ones(3), torch.zeros(1))] * 6)

    loader = torch.utils.data.DataLoader(Stream(), batch_size=2)
    assert len(steps(linear_workload(train_loader=loader), 10)) == 10


def test_a_session_can_be_opened_again() -> None:
    session = make_session(linear_workload())
    found = []
    for _ in range(2):
        with session.open():
            session.step(0.1)
            session.step(0.1)
            found.append(session.losses(wait=True))
            session.step(0.1)  # nobody asks for its loss
    assert found[0] == found[1]
    assert len(found[0]) == 2


class Slow:
    """A loss that is still on its way."""

    def __init__(self, number: int, can_wait_alone: bool) -> None:
        self.number, self.can_wait_alone = number, can_wait_alone

    def arrived(self) -> bool:
        return False

    def value(self) -> float:
        return float(self.number)


@pytest.mark.parametrize("can_wait_alone", [True, False])
def test_losses_that_have_not_arrived_are_waited_for_only_beyond_the_limit(can_wait_alone: bool) -> None:
    session = make_session(linear_workload())
    found: list[list[float]] = []
    for i in range(PENDING_LIMIT + 2):
        session._pending.append(Slow(i, can_wait_alone))  # type: ignore[arg-type]
        found.append(session.losses())
    assert found[:PENDING_LIMIT] == [[]] * PENDING_LIMIT
    assert found[PENDING_LIMIT] == ([0.0] if can_wait_alone else [float(i) for i in range(PENDING_LIMIT + 1)])
    arrived = [loss for some in (*found, session.losses(wait=True)) for loss in some]
    assert arrived == [float(i) for i in range(PENDING_LIMIT + 2)]
    assert session.losses(wait=True) == []


def test_compiled_model_runs_compiled_and_comes_back_plain() -> None:
    calls: list[Any] = []

    def backend(graph: Any, example: Any) -> Any:
        calls.append(graph)
        return graph.forward

    class Doubled(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) * 2

    model = Doubled(3, 1)
    compile_in_place = model.compile
    model.compile = lambda: compile_in_place(backend=backend)  # type: ignore[method-assign]
    with warnings.catch_warnings(action="ignore"):
        compiled = steps(linear_workload(model=model), 3, compile=True)
    assert calls
    assert compiled == pytest.approx(steps(linear_workload(model=model), 3))
    assert model._compiled_call_impl is None


def test_a_rate_is_that_of_the_group_with_the_largest_wherever_it_stands() -> None:
    model = Net()
    groups = [{"params": model.inner.parameters(), "lr": 3e-4}, {"params": model.head.parameters(), "lr": 3e-3}]
    session = make_session(linear_workload(model=model, optimizer=torch.optim.AdamW(groups)))
    assert session.group_lrs(1e-2) == pytest.approx((1e-3, 1e-2))
    assert session.own_lr == 3e-3


def test_errors_of_the_model_keep_their_type() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as raised:
        steps(linear_workload(model=nn.Linear(5, 1)), 1)
    assert not isinstance(raised.value, LrscoutError)


def test_a_session_that_preserves_nothing_leaves_the_trained_weights():
    workload = linear_workload()
    before = digest(workload.model)
    with make_session(workload).open(preserve=False) as session:
        session.train_step()
    assert digest(workload.model) != before


def test_any_batches_can_be_evaluated_without_gradients_and_in_eval_mode():
    workload = linear_workload()
    modes = []
    workload.model.register_forward_hook(lambda model, *_: modes.append(model.training))
    with make_session(workload).open() as session:
        loss = session.evaluate([next(iter(workload.train_loader))])
        assert not loss.requires_grad
        assert workload.model.training
    assert modes == [False]
