"""Eight tasks that no constant was chosen on: they tell whether what was chosen on the others holds.

A recurrent net with RMSprop, softmax regression with plain SGD, dropout, a GPT with NAdam, a residual net with
BatchNorm, a bigram table with SparseAdam, a GPT fine-tuned on other text, and a vision transformer. `fresh_grid.json`
holds their truth.
"""

from __future__ import annotations

import copy
import functools

import torch
from common import (
    CharLoss,
    CharRNN,
    TinyGPT,
    digits,
    loaders,
    mnist1d,
    stdlib_code,
    table,
    task,
    topics_text,
    windows,
)
from torch import nn

STEPS = 400  # length of every training run of the grid


def topics_gru_rmsprop(seed=0, batch_size=32):
    torch.manual_seed(seed)
    model = CharRNN(nn.GRU)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    return task(model, windows(topics_text(), 32), optimizer, CharLoss(), batch_size, seed)


def wine_softmax_sgd(seed=0, batch_size=16):
    torch.manual_seed(seed)
    model = nn.Linear(13, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    return task(model, table("wine"), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


def cancer_dropout_adam(seed=0, batch_size=32):
    torch.manual_seed(seed)
    x, y = table("breast_cancer")
    model = nn.Sequential(
        nn.Linear(30, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return task(model, (x, y.float().unsqueeze(1)), optimizer, nn.BCEWithLogitsLoss(), batch_size, seed)


def stdlib_gpt_nadam(seed=0, batch_size=16):
    torch.manual_seed(seed)
    model = TinyGPT(width=32, depth=3)
    optimizer = torch.optim.NAdam(model.parameters(), lr=1e-3)
    return task(model, windows(stdlib_code(), 32), optimizer, CharLoss(), batch_size, seed)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv1d(width, width, 3, padding=1), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=1), nn.BatchNorm1d(width),
        )  # fmt: skip

    def forward(self, x):  # (B, width, L) -> (B, width, L)
        return torch.relu(x + self.inner(x))


def mnist1d_resnet_sgd(seed=0, batch_size=64):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Unflatten(1, (1, 40)), nn.Conv1d(1, 16, 5, stride=2, padding=2), Residual(16), Residual(16),
        nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9, nesterov=True, weight_decay=5e-4)
    return task(model, mnist1d(), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


class Bigram(nn.Module):
    """The next character from the last one: a table of sparse rows."""

    def __init__(self, vocab=128):
        super().__init__()
        self.rows = nn.Embedding(vocab, vocab, sparse=True)
        nn.init.zeros_(self.rows.weight)

    def forward(self, ids):  # (B,) -> (B, 128)
        return self.rows(ids)


def bigram_sparse_adam(seed=0, batch_size=256):
    torch.manual_seed(seed)
    codes = topics_text()[:60_001]
    model = Bigram()
    optimizer = torch.optim.SparseAdam(list(model.parameters()), lr=1e-2)
    return task(model, (codes[:-1], codes[1:]), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


@functools.cache
def _trained_gpt():
    """A GPT trained on the manual pages."""
    torch.manual_seed(78)
    model = TinyGPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    source, _ = loaders(*windows(topics_text(), 32), 16, 78)
    for _ in range(4):
        for inputs, target in source:
            optimizer.zero_grad()
            CharLoss()(model(inputs), target).backward()
            optimizer.step()
    return model


def finetune_gpt_adamw(seed=0, batch_size=16):
    """Trained on English, goes on with Python."""
    model = copy.deepcopy(_trained_gpt())
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    return task(model, windows(stdlib_code(), 32), optimizer, CharLoss(), batch_size, seed)


class TinyViT(nn.Module):
    """Sixteen patches of 2 x 2 pixels."""

    def __init__(self, width=32):
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.position = nn.Parameter(torch.zeros(16, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, images):  # (B, 8, 8) -> (B, 10)
        x = self.patches(images.unsqueeze(1)).flatten(2).transpose(1, 2) + self.position
        return self.head(self.blocks(x).mean(1))


def digits_vit_adamw(seed=0, batch_size=64):
    torch.manual_seed(seed)
    model = TinyViT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    return task(model, digits(), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


TASKS = [
    topics_gru_rmsprop,
    wine_softmax_sgd,
    cancer_dropout_adam,
    stdlib_gpt_nadam,
    mnist1d_resnet_sgd,
    bigram_sparse_adam,
    finetune_gpt_adamw,
    digits_vit_adamw,
]
