"""On CUDA: the model comes back where it was, losses arrive late and unchanged, and no step waits for the device."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent))  # the helpers of the other tests

from small_workloads import digest, make_loader, make_net, make_session, random_digest

from lrscout import find_lr
from lrscout.engine.session import PENDING_LIMIT, Session
from lrscout.engine.workload import Workload

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

SHORT: dict[str, Any] = {"steps": 30, "max_lr": 0.1}


def make_optimizer(name: str, net: nn.Module) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    options: dict[str, Any] = {"adamw": {}, "fused": {"fused": True}, "capturable": {"capturable": True}}[name]
    return torch.optim.AdamW(net.parameters(), lr=0.01, **options)


class Scaled(nn.Module):
    """A net with a scalar parameter, whose optimizer state has no dimension either."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.scale = make_net(), nn.Parameter(torch.ones(()))

    def forward(self, inputs: Any) -> Any:
        return self.net(inputs) * self.scale


def trained(device: str, name: str) -> tuple[nn.Module, Any, torch.optim.Optimizer]:
    """A model in the middle of its training, with optimizer state and gradients."""
    net, loader = Scaled().to(device), make_loader()
    optimizer = make_optimizer(name, net)
    for inputs, target in loader:
        nn.functional.cross_entropy(net(inputs.to(device)), target.to(device)).backward()
        optimizer.step()
    return net, loader, optimizer


@pytest.mark.parametrize("name", ["sgd", "adamw", "fused", "capturable"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_everything_comes_back(device: str, name: str, precision: str) -> None:
    if (device, name) == ("cpu", "capturable"):
        pytest.skip("torch refuses capturable optimizers over parameters on the CPU")
    net, loader, optimizer = trained(device, name)
    torch.cuda.manual_seed(5)
    torch.rand(3, device="cuda")
    addresses = [p.data_ptr() for p in net.parameters()]
    before = digest(net, optimizer, loader.generator) + random_digest()
    result = find_lr(net, loader, nn.CrossEntropyLoss(), optimizer, precision=precision, **SHORT)
    assert result.record.environment["device"].startswith("cuda")
    assert len(result.points) > 5
    assert {p.device.type for p in net.parameters()} == {device}
    assert [p.data_ptr() for p in net.parameters()] == addresses
    assert digest(net, optimizer, loader.generator) + random_digest() == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_everything_comes_back_when_a_step_raises(error: type[BaseException]) -> None:
    net, loader, optimizer = trained("cpu", "adamw")
    before, seen = digest(net, optimizer) + random_digest(), []

    def step(model: nn.Module, batch: Any) -> Any:
        seen.append(batch)
        if len(seen) == 6:
            raise error
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    with pytest.raises(error):
        find_lr(Workload(net, loader, step=step, optimizer=optimizer), **SHORT)
    assert digest(net, optimizer) + random_digest() == before


def test_training_after_find_lr_is_bit_identical_to_training_without() -> None:
    weights = []
    for search_first in (False, True):
        torch.manual_seed(7)
        net, loader = make_net().cuda(), make_loader()
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        if search_first:
            find_lr(net, loader, nn.CrossEntropyLoss(), optimizer, **SHORT)
        for inputs, target in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs.cuda()), target.cuda()).backward()
            optimizer.step()
        weights.append(digest(net, optimizer))
    assert weights[0] == weights[1]


def session_on_cuda(**settings: Any) -> Session:
    net, loader, _ = trained("cuda", "sgd")
    workload = Workload(net, loader, nn.CrossEntropyLoss())
    return make_session(workload, device="cuda", deterministic=True, **settings)


def test_late_losses_are_the_eager_ones() -> None:
    late, eager = session_on_cuda(), session_on_cuda()
    rates = [1e-4 * 1.1**i for i in range(60)]
    arrived: list[float] = []
    with late.open():
        for lr in rates:
            late.step(lr)
            arrived += late.losses()
        arrived += late.losses(wait=True)
    at_once: list[float] = []
    with eager.open():
        for lr in rates:
            eager.set_lr(lr)
            at_once.append(eager.train_step().item())
    assert arrived == at_once


@pytest.mark.parametrize("val_batches", [0, 2])
def test_no_step_waits_for_the_device(val_batches: int) -> None:
    net, loader, _ = trained("cuda", "sgd")
    # pinned: a copy from pageable memory waits for the host's side of it
    batches = [(inputs.pin_memory(), target.pin_memory()) for inputs, target in loader]
    workload = Workload(net, batches, nn.CrossEntropyLoss(), val_loader=batches)
    session = make_session(workload, val_batches, device="cuda", clip_norm=1.0, clip_value=1.0)
    with session.open():
        for _ in range(3):
            session.step(0.01)
        session.losses(wait=True)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(PENDING_LIMIT):
                session.step(0.01)
                session.losses()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_losses_are_held_back_at_most_to_the_limit() -> None:
    session = session_on_cuda()
    with session.open():
        for _ in range(5):
            session.step(0.01)
        session.losses(wait=True)
        torch.cuda._sleep(4_000_000_000)  # cycles, about two seconds: nothing can arrive meanwhile
        arrived = []
        for _ in range(PENDING_LIMIT):
            session.step(0.01)
            arrived += session.losses()
        assert arrived == []
        session.step(0.01)
        assert len(session.losses()) >= 1


def test_fp16_counts_the_steps_that_the_scaler_skips() -> None:
    net, loader, _ = trained("cuda", "sgd")
    calls = []

    def step(model: nn.Module, batch: Any) -> Any:
        calls.append(batch)
        factor = 1e38 if len(calls) in (3, 5) else 1e-3
        return nn.functional.cross_entropy(model(batch[0]).float(), batch[1]) * factor

    session = make_session(Workload(net, loader, step=step), device="cuda", precision="fp16")
    with session.open():
        for _ in range(8):
            session.step(1e-4)
    assert session.skipped_steps == 2


def test_fp16_counts_the_steps_that_a_fused_optimizer_skips() -> None:
    net, loader, _ = trained("cuda", "sgd")
    calls = []

    def step(model: nn.Module, batch: Any) -> Any:
        calls.append(batch)
        return nn.functional.cross_entropy(model(batch[0]).float(), batch[1]) * (1e38 if len(calls) == 3 else 1e-3)

    workload = Workload(net, loader, step=step, optimizer=lambda p: torch.optim.AdamW(p, fused=True))
    session = make_session(workload, device="cuda", precision="fp16")
    with session.open():
        for _ in range(6):
            session.step(1e-4)
    assert session.skipped_steps == 1


def test_model_on_cuda_can_be_swept_on_the_cpu() -> None:
    net, loader, optimizer = trained("cuda", "adamw")
    before = digest(net, optimizer)
    result = find_lr(net, loader, nn.CrossEntropyLoss(), optimizer, device="cpu", **SHORT)
    assert result.record.environment["device"] == "cpu"
    assert digest(net, optimizer) == before


def test_loss_with_class_weights_moves_along_and_comes_back() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))
    weight = loss.weight
    find_lr(make_net(), make_loader(), loss, **SHORT)
    assert loss.weight is weight
    assert weight.device.type == "cpu"


def test_memory_is_given_back() -> None:
    net = nn.Sequential(nn.Linear(512, 512), nn.Linear(512, 2))
    batches = [(torch.randn(8, 512), torch.zeros(8, dtype=torch.long))]
    find_lr(net, batches, nn.CrossEntropyLoss(), **SHORT)  # cuBLAS keeps its workspace from now on
    before = torch.cuda.memory_allocated()
    find_lr(net, batches, nn.CrossEntropyLoss(), **SHORT)
    assert torch.cuda.memory_allocated() <= before
