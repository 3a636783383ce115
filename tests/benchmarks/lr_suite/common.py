"""Building blocks of the learning-rate suite: real data that needs no download, small models.

Every task is a function `build(seed=0, batch_size=...)` that returns a dict with the keys
`model`, `train_loader`, `val_loader`, `loss_fn` and `optimizer`: the dict form of a target.
Needs torch, scikit-learn and mnist1d.
"""

from __future__ import annotations

import functools
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def loaders(x, y, batch_size, seed, val_fraction=0.25, eval_batch=512, val_limit=None):
    """Split once (seed 1234, the same for every run), shuffle the training part by `seed`."""
    n = len(x)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1234))
    cut = int(n * (1 - val_fraction))
    train, val = order[:cut], order[cut:][:val_limit]
    gen = torch.Generator().manual_seed(seed)
    return (
        DataLoader(TensorDataset(x[train], y[train]), batch_size, shuffle=True, drop_last=True, generator=gen),
        DataLoader(TensorDataset(x[val], y[val]), eval_batch),
    )


@functools.cache
def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32) / 16.0
    return (x - x.mean()) / x.std(), torch.tensor(data.target)


@functools.cache
def mnist1d():
    from mnist1d.data import get_dataset_args, make_dataset

    args = get_dataset_args()
    args.num_samples = 5000
    state = np.random.get_state()
    data = make_dataset(args)
    np.random.set_state(state)
    x = torch.tensor(np.concatenate([data["x"], data["x_test"]]), dtype=torch.float32)
    y = torch.tensor(np.concatenate([data["y"], data["y_test"]])).long()
    return x, y


@functools.cache
def table(name):
    import sklearn.datasets as d

    data = getattr(d, f"load_{name}")()
    x = torch.tensor(data.data, dtype=torch.float32)
    x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    y = torch.tensor(data.target)
    return x, y


@functools.cache
def topics_text():
    """The text of Python's own manual pages, shipped with every CPython, as byte codes 0..127."""
    from pydoc_data.topics import topics

    return _codes("\n".join(topics[k] for k in sorted(topics)))


@functools.cache
def stdlib_code():
    """Source code of a few modules of Python's standard library, as byte codes 0..127."""
    root = Path(functools.__file__).parent
    names = ["argparse.py", "ast.py", "difflib.py", "doctest.py", "inspect.py", "optparse.py", "pdb.py", "tarfile.py"]
    return _codes("\n".join((root / n).read_text(encoding="utf-8") for n in names))


def _codes(text):
    raw = text.encode("ascii", "replace")
    return torch.tensor(np.frombuffer(raw, dtype=np.uint8).astype(np.int64)).clamp_(0, 127)


def windows(codes, length, limit=60_000):
    """Non-overlapping windows and their next characters, (n, length) each."""
    codes = codes[: limit + 1]
    n = (len(codes) - 1) // length
    return codes[: n * length].view(n, length), codes[1 : n * length + 1].view(n, length)


class CharLoss(nn.Module):
    def forward(self, logits, target):
        return nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())


class TinyGPT(nn.Module):
    def __init__(self, vocab=128, width=48, depth=2, heads=4, length=32):
        super().__init__()
        self.token = nn.Embedding(vocab, width)
        self.position = nn.Parameter(torch.zeros(length, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, vocab)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length), persistent=False)

    def forward(self, ids):
        x = self.token(ids) + self.position
        return self.head(self.blocks(x, mask=self.mask, is_causal=True))


class CharRNN(nn.Module):
    def __init__(self, cell=nn.LSTM, vocab=128, width=128):
        super().__init__()
        self.token = nn.Embedding(vocab, 64)
        self.rnn = cell(64, width, batch_first=True)
        self.head = nn.Linear(width, vocab)

    def forward(self, ids):
        return self.head(self.rnn(self.token(ids))[0])


def mlp(widths, act=nn.ReLU):
    layers = [nn.Flatten()]
    for a, b in pairwise(widths[:-1]):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def task(model, data, optimizer, loss_fn, batch_size, seed, **split):
    train, val = loaders(*data, batch_size, seed, **split)
    return {"model": model, "train_loader": train, "val_loader": val, "loss_fn": loss_fn, "optimizer": optimizer}
