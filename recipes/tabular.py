"""Tabular data (breast cancer, 30 measurements per row) and a multilayer perceptron trained by SGD with momentum.

    lrscout find-lr recipes/tabular.py:build
    lrscout find-lr --recipe recipes/tabular.yaml

The optimizer is given as a function of the parameters, so it can be created again for a model that was moved
or rebuilt. The 569 rows come with scikit-learn: `pip install "lrscout[recipes]"`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

VAL_SHARE = 0.25  # share of the rows that is held out


def build(batch_size: int = 32, width: int = 64, momentum: float = 0.9) -> dict[str, Any]:
    """Build a binary classifier: is the tumor benign?"""
    rows, labels = load_table()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))  # the same split for every seed
    val, train = order.split([int(VAL_SHARE * len(order)), len(order) - int(VAL_SHARE * len(order))])
    # Only the training rows' statistics: those of all rows would leak information about the held-out ones.
    mean, std = rows[train].mean(0), rows[train].std(0)  # (30,), (30,)
    rows = (rows - mean) / std
    return {
        "model": make_mlp(rows.shape[1], width),
        "train_loader": DataLoader(TensorDataset(rows[train], labels[train]), batch_size, shuffle=True, drop_last=True),
        "val_loader": DataLoader(TensorDataset(rows[val], labels[val]), batch_size),
        "loss_fn": nn.BCEWithLogitsLoss(),  # logits (B,), labels (B,) -> ()
        # Training would start at this rate; a sweep replaces it and keeps the rest.
        "optimizer": partial(torch.optim.SGD, lr=0.01, momentum=momentum, weight_decay=1e-4),
    }


def load_table() -> tuple[Tensor, Tensor]:
    """Return the raw rows (N, 30), whose columns differ in scale by up to 10^5, and labels 0.0 or 1.0 (N,)."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    return torch.tensor(data.data, dtype=torch.float32), torch.tensor(data.target, dtype=torch.float32)


def make_mlp(columns: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(columns, width),  # (B, 30) -> (B, width)
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 1),  # (B, 1)
        nn.Flatten(0),  # (B, 1) -> (B,), the shape of the labels
    )
