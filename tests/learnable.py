"""Targets whose loss falls and diverges within few steps; in a file of their own, since other processes import them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

SAMPLES = 64


def data() -> TensorDataset:
    inputs = torch.randn(SAMPLES, 6, generator=torch.Generator().manual_seed(1))
    return TensorDataset(inputs, (inputs.sum(1) > 0).long())


def parts(batch_size: int) -> dict[str, Any]:
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(data(), batch_size, shuffle=True)
    return {"model": model, "train_loader": loader, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}


def build(batch_size: int = 4) -> dict[str, Any]:
    return parts(batch_size)


def with_loader() -> dict[str, Any]:
    return parts(4)


def failing(batch_size: int = 4, after: int = 100) -> dict[str, Any]:
    """Fails after more steps than a trial takes."""
    steps = 0

    def step(model: nn.Module, batch: Any) -> Tensor:
        nonlocal steps
        steps += 1
        if steps > after:
            raise IndexError(f"the user's own mistake after {after} steps")
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    return {**parts(batch_size), "loss_fn": None, "step": step}
