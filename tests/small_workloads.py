"""Small real workloads, and digests of everything that a search may touch."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lrscout.engine.session import Session
from lrscout.engine.workload import Workload, make_workload
from lrscout.settings import SessionSettings


class Net(nn.Module):
    """A bit of everything: batch norm, dropout, a tied weight, a buffer that is not persistent."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.2)
        self.again = nn.Linear(6, 6)
        self.again.weight = self.inner.weight
        self.head = nn.Linear(6, 2)
        self.register_buffer("calls", torch.zeros(1), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.again(self.drop(self.norm(self.inner(inputs)).relu())))


def make_net(seed: int = 1) -> Net:
    torch.manual_seed(seed)
    return Net()


def make_loader(batches: int = 8, batch_size: int = 4, **more: Any) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(batches * batch_size, 6, generator=generator)
    data = TensorDataset(inputs, (inputs.sum(1) > 0).long())
    return DataLoader(data, batch_size=batch_size, **{"shuffle": True, "generator": generator, **more})


def linear_workload(**parts: Any) -> Workload:
    """A linear regression on four batches of four."""
    torch.manual_seed(1)
    batches = [(torch.randn(4, 3), torch.randn(4, 1)) for _ in range(4)]
    default = {"model": nn.Linear(3, 1), "train_loader": batches, "loss_fn": nn.MSELoss()}
    return make_workload({**default, **parts})


def make_session(workload: Workload, val_batches: int = 0, **settings: Any) -> Session:
    return Session(workload, SessionSettings(**{"device": "cpu", **settings}), val_batches)


def steps(workload: Workload, count: int, lr: float = 0.1, val_batches: int = 0, **settings: Any) -> list[float]:
    """The losses of some steps at one rate, everything put back afterwards."""
    session = make_session(workload, val_batches, **settings)
    with session.open():
        for _ in range(count):
            session.step(lr)
        return session.losses(wait=True)


def digest(*things: Any) -> str:
    """Of values: bits of tensors, and everything that a module, an optimizer or a generator holds."""
    found = hashlib.sha256()
    for thing in things:
        for part in _flat(thing):
            found.update(repr(part).encode())
    return found.hexdigest()


def random_digest() -> str:
    states = [random.getstate(), np.random.get_state(), torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return digest(states)


def _flat(thing: Any) -> Iterable[Any]:
    if isinstance(thing, Tensor):
        value = thing.detach().cpu().contiguous()
        yield (str(thing.device), str(thing.dtype), tuple(thing.shape), value.reshape(-1).view(torch.uint8).tolist())
        yield from _flat(thing.grad if thing.is_leaf else None)
    elif isinstance(thing, np.ndarray):
        yield thing.tolist()
    elif isinstance(thing, nn.Module):
        for name, module in thing.named_modules():
            yield (name, module.training, tuple(module._buffers), tuple(module._parameters))
            yield from _flat([*module.parameters(recurse=False), *module.buffers(recurse=False)])
    elif isinstance(thing, torch.optim.Optimizer):
        yield from _flat([list(thing.state.values()), thing.param_groups])
    elif isinstance(thing, torch.Generator):
        yield from _flat(thing.get_state())
    elif isinstance(thing, dict):
        for key, value in thing.items():
            yield key
            yield from _flat(value)
    elif isinstance(thing, (list, tuple)):
        for item in thing:
            yield from _flat(item)
    else:
        yield thing
