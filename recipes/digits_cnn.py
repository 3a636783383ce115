"""Handwritten digits and a small convolutional network: the shortest complete target.

    lrscout find-lr recipes/digits_cnn.py:build
    lrscout find-lr --recipe recipes/digits_cnn.yaml

It defines no optimizer, so `--optimizer` selects one (AdamW by default). The 1797 images of 8x8 pixels come
with scikit-learn: `pip install "lrscout[recipes]"`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

VAL_SHARE = 0.2  # share of the images that is held out


def build(batch_size: int = 64, width: int = 16) -> dict[str, Any]:
    """Build a classifier for the ten digits; `width` is the number of channels of the first convolution."""
    images, digits = load_digits()
    # The split is fixed, so runs with different seeds are evaluated on the same images.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    val, train = order.split([int(VAL_SHARE * len(order)), len(order) - int(VAL_SHARE * len(order))])
    return {
        "model": make_cnn(width),
        # drop_last keeps all batches the same size: a small last batch would cause a jump in the sweep.
        "train_loader": DataLoader(
            TensorDataset(images[train], digits[train]), batch_size, shuffle=True, drop_last=True
        ),
        "val_loader": DataLoader(TensorDataset(images[val], digits[val]), batch_size),
        "loss_fn": nn.CrossEntropyLoss(),  # called as loss_fn(model(images), digits)
    }


def load_digits() -> tuple[Tensor, Tensor]:
    """Return the images (N, 1, 8, 8), with pixels from -1 to 1, and their digits (N,)."""
    from sklearn.datasets import load_digits as load

    data = load()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1)  # (N, 8, 8) -> (N, 1, 8, 8)
    return images / 8 - 1, torch.tensor(data.target)  # pixels are 0 to 16


def make_cnn(width: int) -> nn.Module:
    return nn.Sequential(  # output shapes, with C = width
        nn.Conv2d(1, width, 3, padding=1),  # (B, C, 8, 8)
        nn.ReLU(),
        nn.MaxPool2d(2),  # (B, C, 4, 4)
        nn.Conv2d(width, 2 * width, 3, padding=1),  # (B, 2C, 4, 4)
        nn.ReLU(),
        nn.MaxPool2d(2),  # (B, 2C, 2, 2)
        nn.Flatten(),  # (B, 8C)
        nn.Linear(8 * width, 10),  # (B, 10)
    )
