"""What lrscout tunes: a model, its data, its loss and its optimizer. Put your own where a comment says so.

lrscout check          # is this target sound?
lrscout tune           # batch size, learning rate and schedule
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def build(batch_size: int = 64, seed: int = 0, width: int = 64) -> dict[str, Any]:
    """A new training, each time it is called. Other arguments come from -k, as in `-k width=128`, or lrscout.yaml.

    lrscout seeds torch, NumPy and random before every call, so weights differ from one of its seeds to the next.
    """
    # Your data: any Dataset. `seed` fixes the split, so that every run is judged by the same samples.
    train_set, val_set = random_split(samples(), [1600, 400], torch.Generator().manual_seed(seed))

    # Your model.
    model = nn.Sequential(nn.Linear(20, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))

    # Your optimizer. Its rate is what is searched for; groups of parameters keep the ratios of their rates.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)

    return {
        "model": model,
        "train_loader": DataLoader(train_set, batch_size, shuffle=True, drop_last=True),
        "val_loader": DataLoader(val_set, 256),
        # For batches that are not (inputs, labels): "step": a function of a batch that returns its loss.
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": optimizer,
    }


def samples() -> TensorDataset:
    """2,000 made-up samples of 20 features in 4 classes, which a small network tells apart."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2000, 20, generator=generator)  # (N, 20)
    weights = torch.randn(20, 4, generator=generator)
    scores = torch.tanh(inputs) @ weights + 0.5 * torch.randn(2000, 4, generator=generator)  # (N, 4)
    return TensorDataset(inputs, scores.argmax(dim=1))
