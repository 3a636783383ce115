"""The rates and losses of a sweep equal those of a plain loop, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from plain_loop import swept, trained_by_hand
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.utils.data import DataLoader, TensorDataset


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.GRU(2, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs.reshape(len(inputs), 3, 2))[0][:, -1])


def dense(dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 2))


def build(
    make_model: Callable[[], nn.Module] = dense,
    make_optimizer: Callable[[Any], Optimizer] = SGD,
    workers: int = 0,
    groups: bool = False,
) -> Mapping[str, Any]:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(70, 6, generator=generator)
    data = TensorDataset(inputs, (inputs.sum(1) > 0).long())
    model = make_model()
    parameters: Any = list(model.parameters())
    if groups:
        parameters = [{"params": parameters[:2], "lr": 2e-4}, {"params": parameters[2:]}]
    return {
        "model": model,
        "train_loader": DataLoader(data, batch_size=8, shuffle=True, num_workers=workers),
        "val_loader": DataLoader(data, batch_size=32),
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": make_optimizer(parameters),
    }


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "accumulation": ({}, {"accumulate": 4}),
    "clipping by norm": ({}, {"clip_norm": 0.1}),
    "clipping by value": ({}, {"clip_value": 0.01}),
    "bf16": ({}, {"precision": "bf16"}),
    "parameter groups": ({"groups": True}, {}),
    "held-out batches": ({}, {"val_batches": 2}),
    "momentum": ({"make_optimizer": partial(SGD, momentum=0.9, nesterov=True)}, {}),
    "Adam": ({"make_optimizer": Adam}, {}),
    "AdamW": ({"make_optimizer": AdamW}, {}),
    "dropout": ({"make_model": partial(dense, 0.3)}, {"val_batches": 1}),
    "two workers": ({"workers": 2}, {}),
    "a recurrent net": ({"make_model": Recurrent}, {}),
    "much at once": (
        {"make_model": partial(dense, 0.3), "make_optimizer": AdamW, "groups": True},
        {"accumulate": 3, "clip_norm": 0.5, "clip_value": 0.1, "precision": "bf16", "val_batches": 3},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_sweep_equals_a_plain_loop_bit_for_bit(kind: str, one_thread: None) -> None:
    parts, settings = KINDS[kind]
    made = partial(build, **parts)
    rates, losses = swept(made, **settings)
    assert (rates, losses) == trained_by_hand(made, **settings)
    assert len(set(losses)) == len(losses) == 20
