"""Six more tasks, of families that the open ones leave out. `own_grid.json` holds their truth.

Fine-tuning through BatchNorm, embeddings with Adagrad, a GAN's discriminator, a deep net without normalisation,
regression from four noisy samples at a time, and Muon.
"""

from __future__ import annotations

import copy
import functools

import torch
from common import digits, loaders, mlp, mnist1d, table, task, topics_text, windows
from torch import nn

STEPS = 400  # length of every training run of the grid


@functools.cache
def _trained_body():
    """A convolutional body with BatchNorm, trained on the digits 0 to 4."""
    torch.manual_seed(77)
    x, y = digits()
    low = y < 5
    body = nn.Sequential(
        nn.Unflatten(1, (1, 8)),
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    model = nn.Sequential(body, nn.Linear(32, 5))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    source, _ = loaders(x[low], y[low], 64, 77)
    for _ in range(10):
        for inputs, target in source:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), target).backward()
            optimizer.step()
    return body


def finetune_bn_sgd(seed=0, batch_size=32):
    """The body goes on with the digits 5 to 9 under a new head."""
    body = copy.deepcopy(_trained_body())
    torch.manual_seed(seed)
    model = nn.Sequential(body, nn.Linear(32, 5))
    x, y = digits()
    high = y >= 5
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9, nesterov=True)
    return task(model, (x[high], y[high] - 5), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


class ContextBag(nn.Module):
    """The next character from the embeddings of the eight before it."""

    def __init__(self, vocab=128, width=24, length=8):
        super().__init__()
        self.token = nn.Embedding(vocab, width)
        self.hidden = nn.Linear(width * length, 128)
        self.head = nn.Linear(128, vocab)

    def forward(self, ids):  # (B, 8) -> (B, 128)
        return self.head(torch.relu(self.hidden(self.token(ids).flatten(1))))


def context_embedding_adagrad(seed=0, batch_size=64):
    torch.manual_seed(seed)
    inputs, following = windows(topics_text(), 8)
    model = ContextBag()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=1e-2)
    return task(model, (inputs, following[:, -1]), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


def gan_discriminator_adam(seed=0, batch_size=64):
    """Real digits against those of a generator that knows their mean and spread but not their shape."""
    real, _ = digits()
    real = real.flatten(1)
    made = real.mean(0) + real.std(0) * torch.randn(real.shape, generator=torch.Generator().manual_seed(5))
    x = torch.cat([real, made])
    y = torch.cat([torch.ones(len(real), 1), torch.zeros(len(made), 1)])
    torch.manual_seed(seed)
    model = mlp([64, 128, 64, 1], lambda: nn.LeakyReLU(0.2))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, betas=(0.5, 0.999))
    return task(model, (x, y), optimizer, nn.BCEWithLogitsLoss(), batch_size, seed)


def deep_plain_relu_sgd(seed=0, batch_size=64):
    """Ten layers without any normalisation, He initialisation."""
    torch.manual_seed(seed)
    model = mlp([40, *[64] * 9, 10])
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    return task(model, mnist1d(), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


def noisy_regression_adamw(seed=0, batch_size=4):
    """Four samples a step, and as much noise in the target as signal."""
    x, y = table("diabetes")
    y = ((y - y.mean()) / y.std()).float().unsqueeze(1)
    y = y + torch.randn(y.shape, generator=torch.Generator().manual_seed(6))
    torch.manual_seed(seed)
    model = mlp([10, 32, 1], nn.Tanh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return task(model, (x, y), optimizer, nn.MSELoss(), batch_size, seed)


def digits_mlp_muon(seed=0, batch_size=64):
    """Muon takes matrices only, so the layers have no bias."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128, bias=False), nn.GELU(), nn.Linear(128, 128, bias=False), nn.GELU(),
        nn.Linear(128, 10, bias=False),
    )  # fmt: skip
    optimizer = torch.optim.Muon(model.parameters(), lr=1e-3, weight_decay=0.01)
    return task(model, digits(), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


TASKS = [
    finetune_bn_sgd,
    context_embedding_adagrad,
    gan_discriminator_adam,
    deep_plain_relu_sgd,
    noisy_regression_adamw,
    digits_mlp_muon,
]
