"""Targets that are trained on several ranks."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

MIB = 1 << 20


def build(batch_size: int = 16, size: int = 256) -> dict[str, Any]:
    """A regression whose blocks fully_shard divides, with an optimizer of two groups."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(size, 16, generator=generator)
    targets = (inputs @ torch.randn(16, 1, generator=generator)).tanh()
    model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 32), nn.LayerNorm(32), nn.Linear(32, 1))
    groups = [{"params": model[:4].parameters(), "lr": 1e-3}, {"params": model[4].parameters(), "lr": 1e-2}]
    return {
        "model": model,
        "train_loader": DataLoader(TensorDataset(inputs, targets), batch_size=batch_size),
        "loss_fn": nn.MSELoss(),
        "optimizer": torch.optim.AdamW(groups),
    }


def kept(batch_size: int = 16) -> dict[str, Any]:
    """The same, with a step that calls the model it has kept, without a word to whoever wraps it."""
    parts = build(batch_size)
    model, loss_fn = parts["model"], parts.pop("loss_fn")
    return {**parts, "step": lambda batch: loss_fn(model[4](model[:4](batch[0])), batch[1])}


def several(losses: bool = False, manual: bool = False, batch_size: int = 16) -> dict[str, Any]:
    """An optimizer for each half, by name, with one loss, a loss for each, or a step that trains by itself."""
    parts = build(batch_size)
    model, loss_fn = parts["model"], parts.pop("loss_fn")
    halves = {"low": model[:4], "high": model[4]}
    parts["optimizer"] = {name: torch.optim.SGD(half.parameters(), lr=0.1) for name, half in halves.items()}

    def step(batch: Any) -> Any:
        loss = loss_fn(model(batch[0]), batch[1])
        return {"low": loss, "high": 2 * loss} if losses else loss

    return {**parts, "step": step, "manual": manual}


def spare(batch_size: int = 16) -> dict[str, Any]:
    """The same, with a layer that nothing calls."""
    parts = build(batch_size)
    parts["model"].spare = nn.ModuleList([nn.Linear(2, 2)])
    parts["model"].forward = lambda inputs: parts["model"][:5](inputs)
    return parts


class Scaled(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(6))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        scale = self.log_scale.mean()
        return ((outputs - targets) ** 2).mean() * torch.exp(-scale) + scale


def scaled(batch_size: int = 16, optimizer: str = "own") -> dict[str, Any]:
    """The same, with a loss that has a parameter, which the target's optimizer trains or leaves alone."""
    parts = build(batch_size)
    model, loss_fn = parts["model"], Scaled()
    optimizers = {
        "own": torch.optim.SGD([*model.parameters(), *loss_fn.parameters()], lr=0.1),
        "made": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        "none": None,
    }
    return {**parts, "loss_fn": loss_fn, "optimizer": optimizers[optimizer]}


class SAM(torch.optim.Optimizer):
    """Sharpness-aware minimization by SGD: a step is two, with gradients of their own (Foret et al. 2021)."""

    def __init__(self, parameters: Any, rho: float = 0.05, **options: Any) -> None:
        super().__init__(parameters, {"rho": rho, **options})
        self.base = torch.optim.SGD(self.param_groups, **options)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def first_step(self, zero_grad: bool = False) -> None:
        weights = [weight for group in self.param_groups for weight in group["params"]]
        norm = torch.stack([weight.grad.norm() for weight in weights]).norm()
        for weight in weights:
            self.state[weight]["moved"] = 0.05 * weight.grad / norm
            weight.add_(self.state[weight]["moved"])
        self.zero_grad()

    @torch.no_grad()
    def second_step(self, zero_grad: bool = False) -> None:
        for weight in self.state:
            weight.sub_(self.state[weight].pop("moved"))
        self.base.step()

    def step(self, closure: Any) -> None:
        raise NotImplementedError


def stepped_twice(batch_size: int = 16, kind: str = "SAM") -> dict[str, Any]:
    """The same, with an optimizer that evaluates the loss more than once a step."""
    parts = build(batch_size)
    parameters = parts["model"].parameters()
    parts["optimizer"] = SAM(parameters, lr=0.1) if kind == "SAM" else torch.optim.LBFGS(parameters)
    return parts


def exiting(batch_size: int = 16) -> dict[str, Any]:
    """Its step ends the program with a text."""
    parts = build(batch_size)

    def step(model: nn.Module, batch: Any) -> Tensor:
        raise SystemExit("the disk is full")

    return {**parts, "step": step}


def divided(batch_size: int = 16) -> dict[str, Any]:
    """The batch size is that of all ranks together, and must be divisible by their number."""
    if batch_size % int(os.environ["WORLD_SIZE"]):
        raise RuntimeError(f"{batch_size} samples cannot be divided.")
    return build(batch_size // int(os.environ["WORLD_SIZE"]))


def failing(batch_size: int = 16) -> dict[str, Any]:
    """Rank 1 raises an exception in its third step."""
    parts, steps = build(batch_size), iter(range(1, 10**9))
    loss_fn = parts.pop("loss_fn")

    def step(model: nn.Module, batch: Any) -> Tensor:
        if next(steps) == 3 and os.environ["RANK"] == "1":
            raise ValueError("the third batch is bad")
        return loss_fn(model(batch[0]), batch[1])

    return {**parts, "step": step}


class Headed(nn.Module):
    """Blocks, and a layer of its own after them."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.blocks, self.head = layers[:4], layers[4]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.blocks(inputs))


def held_out(batch_size: int = 16) -> dict[str, Any]:
    """The same with a head, and with held-out data."""
    parts = build(batch_size)
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.randn(24, 16, generator=generator), torch.randn(24, 1, generator=generator))
    return {**parts, "model": Headed(parts["model"]), "val_loader": DataLoader(data, batch_size // 2)}


class Endless:
    """The held-out batches again and again, without a length."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Any:
        while True:
            yield from self.loader


def endless(batch_size: int = 16) -> dict[str, Any]:
    """The same with held-out data that do not end."""
    parts = held_out(batch_size)
    return {**parts, "val_loader": Endless(parts["val_loader"])}


def pretrained(batch_size: int = 16) -> dict[str, Any]:
    """The same, trained for a few steps while it is built."""
    parts = build(batch_size)
    teacher = torch.optim.SGD(parts["model"].parameters(), lr=0.01)
    for batch, target in DataLoader(parts["train_loader"].dataset, batch_size=64):
        teacher.zero_grad()
        parts["loss_fn"](parts["model"](batch), target).backward()
        teacher.step()
    return {**parts, "optimizer": torch.optim.AdamW([{"params": []}, {"params": parts["model"].parameters()}])}


def resting(batch_size: int = 16) -> dict[str, Any]:
    """Two optimizers with one loss, under schedulers that begin at a rate of 0."""
    parts = several(batch_size=batch_size)
    for optimizer in parts["optimizer"].values():
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 100))
    return parts


def dying(batch_size: int = 16) -> dict[str, Any]:
    """Rank 1 is killed in its fifth step."""
    parts, steps = build(batch_size), iter(range(1, 10**9))
    loss_fn = parts.pop("loss_fn")

    def step(model: nn.Module, batch: Any) -> Tensor:
        if next(steps) == 5 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), 9)
        return loss_fn(model(batch[0]), batch[1])

    return {**parts, "step": step}


def greedy(where: str, batch_size: int = 16) -> dict[str, Any]:
    """Rank 1 takes 512 MiB in its second step: in the forward pass, the backward pass or the optimizer's step."""
    parts = build(batch_size)
    taken = {"forward": 0, "backward": 0, "optimizer": 0}

    def take(here: str) -> None:
        taken[here] += 1
        if here == where and taken[here] == 2 and os.environ["RANK"] == "1":
            torch.ones(512 * MIB // 4)

    class Taking(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, loss: Tensor) -> Tensor:
            take("forward")
            return loss.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            take("backward")
            return gradient

    class Optimizer(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            take("optimizer")
            return super().step(closure)

    model, loss_fn = parts["model"], parts.pop("loss_fn")
    optimizer = Optimizer(model.parameters(), lr=1e-3)
    return {**parts, "optimizer": optimizer, "step": lambda m, batch: Taking.apply(loss_fn(m(batch[0]), batch[1]))}
