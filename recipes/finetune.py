"""Fine-tuning: a body pretrained on the digits 0 to 4 gets a new head for 5 to 9.

    lrscout find-lr recipes/finetune.py:build
    lrscout find-lr recipes/finetune.py:build --kwarg mode=frozen
    lrscout find-lr --recipe recipes/finetune.yaml

The parameter groups keep their ratio during a sweep, so one sweep finds the learning rate of the head and that of
the body, a tenth of it. Requires scikit-learn: `pip install "lrscout[recipes]"`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

HEAD_LR = 1e-3
BODY_SHARE = 0.1  # the body's rate as a share of the head's: the body only needs small corrections
VAL_SHARE = 0.2  # share of the images that is held out


def build(mode: str = "discriminative", batch_size: int = 32, width: int = 128) -> dict[str, Any]:
    """Build a pretrained body and a new head, to be trained in one of MODES.

    Raises:
        ValueError: `mode` is not one of MODES.
    """
    if mode not in MODES:
        raise ValueError(f"Unknown mode {mode!r}; choose one of {', '.join(MODES)}.")
    images, digits = load_digits()
    early = digits < 5
    body = pretrain_body(images[early], digits[early], width)  # in your own code, load a checkpoint here
    head = nn.Linear(width, 5)  # (B, width) -> (B, 5)

    images, digits = images[~early], digits[~early] - 5  # classes 0 to 4 are the digits 5 to 9
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))  # the same split for every seed
    val, train = order.split([int(VAL_SHARE * len(order)), len(order) - int(VAL_SHARE * len(order))])
    return {
        "model": nn.Sequential(body, head),
        "train_loader": DataLoader(
            TensorDataset(images[train], digits[train]), batch_size, shuffle=True, drop_last=True
        ),
        "val_loader": DataLoader(TensorDataset(images[val], digits[val]), batch_size),
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.AdamW(MODES[mode](body, head), lr=HEAD_LR),
    }


def discriminative_groups(body: nn.Module, head: nn.Module) -> list[dict[str, Any]]:
    return [
        {"params": body.parameters(), "lr": HEAD_LR * BODY_SHARE},
        {"params": head.parameters(), "lr": HEAD_LR},
    ]


def frozen_groups(body: nn.Module, head: nn.Module) -> list[dict[str, Any]]:
    body.requires_grad_(False)  # no gradients: faster, and no weight decay either
    return [{"params": head.parameters()}]


def full_groups(body: nn.Module, head: nn.Module) -> list[dict[str, Any]]:
    return [{"params": [*body.parameters(), *head.parameters()]}]


MODES = {"discriminative": discriminative_groups, "frozen": frozen_groups, "full": full_groups}


def load_digits() -> tuple[Tensor, Tensor]:
    """Return the images as rows of pixels from -1 to 1 (N, 64), and their digits (N,)."""
    from sklearn.datasets import load_digits as load

    data = load()
    return torch.tensor(data.data, dtype=torch.float32) / 8 - 1, torch.tensor(data.target)


def pretrain_body(images: Tensor, digits: Tensor, width: int, epochs: int = 10) -> nn.Module:
    """Train a classifier on the digits 0 to 4 for about a second, and discard its head."""
    body = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    model = nn.Sequential(body, nn.Linear(width, 5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            nn.functional.cross_entropy(model(images[batch]), digits[batch]).backward()
            optimizer.step()
            optimizer.zero_grad()
    return body
