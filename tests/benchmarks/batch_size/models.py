"""The two targets of the batch-size benchmark: a CNN and a small transformer, on random data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

SAMPLES = 4096


def cnn_model() -> nn.Module:
    """A plain CNN on 3x32x32 images; about 2.5 MiB of activations a sample."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 64, 128):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 4 * 4, 10))


class Transformer(nn.Module):
    """Four encoder layers over 64 tokens; about 3 MiB of activations a sample."""

    def __init__(self, vocabulary: int = 256, width: int = 128, length: int = 64) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.zeros(length, width))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, inputs: Tensor) -> Tensor:  # (B, T) -> (B, V, T)
        return self.head(self.layers(self.tokens(inputs) + self.places)).transpose(1, 2)


def data_of(name: str) -> TensorDataset:
    if name == "cnn":
        return TensorDataset(torch.zeros(SAMPLES, 3, 32, 32), torch.zeros(SAMPLES, dtype=torch.long))
    tokens = torch.zeros(SAMPLES, 64, dtype=torch.long)
    return TensorDataset(tokens, tokens)


def model_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return cnn_model() if name == "cnn" else Transformer()


def build(name: str, batch_size: int = 16) -> dict[str, Any]:
    return {
        "model": model_of(name),
        "train_loader": DataLoader(data_of(name), batch_size, drop_last=True),
        "loss_fn": nn.CrossEntropyLoss(),
    }
