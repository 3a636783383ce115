"""Targets for find-batch-size, whole and broken; in a file of their own, since other processes import them."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

MIB = 1 << 20


class Wide(nn.Module):
    """About 300 KiB of activations a sample and 2 MiB of weights."""

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        self.widen = nn.Linear(features, 8192)
        self.narrow = nn.Linear(8192, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.widen(inputs)
        for _ in range(4):
            hidden = torch.tanh(hidden) + 0.1
        return self.narrow(hidden)


def data(samples: int = 4096) -> TensorDataset:
    return TensorDataset(torch.zeros(samples, 64), torch.zeros(samples, dtype=torch.long))


def parts(loader: Any, model: nn.Module | None = None, **more: Any) -> dict[str, Any]:
    return {"model": model or Wide(), "train_loader": loader, "loss_fn": nn.CrossEntropyLoss(), **more}


def build(batch_size: int = 8, samples: int = 4096, drop_last: bool = False) -> dict[str, Any]:
    model = Wide()
    loader = DataLoader(data(samples), batch_size, drop_last=drop_last)
    return parts(loader, model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), val_loader=loader)


def with_loader(samples: int = 4096, workers: int = 0) -> dict[str, Any]:
    return parts(DataLoader(data(samples), 8, shuffle=True, num_workers=workers))


def small_evaluation(batch_size: int = 4) -> dict[str, Any]:
    return {**build(batch_size), "val_loader": DataLoader(data(2), batch_size)}


def needs_size(n: int) -> dict[str, Any]:
    return build(n)


def batches_of_its_own() -> dict[str, Any]:
    return parts([(torch.zeros(4, 64), torch.zeros(4, dtype=torch.long))])


def deaf(batch_size: int = 4) -> dict[str, Any]:
    """Takes the size, and gives batches of four all the same."""
    return batches_of_its_own()


class Grouped(torch.utils.data.BatchSampler):
    pass


def batch_sampler() -> dict[str, Any]:
    sampler = Grouped(torch.utils.data.SequentialSampler(data()), 8, False)
    return parts(DataLoader(data(), batch_sampler=sampler))


class Stream(IterableDataset):
    def __init__(self, batched: bool) -> None:
        self.batched = batched

    def __iter__(self) -> Any:
        for _ in range(64):
            sample = torch.zeros(64), torch.tensor(0)
            yield [part[None] for part in sample] if self.batched else sample


def stream(batched: bool = False) -> dict[str, Any]:
    return parts(DataLoader(Stream(batched), None if batched else 4))


def raising_at(batch_size: int = 8, bad: int = 37) -> dict[str, Any]:
    def step(model: nn.Module, batch: Any) -> Tensor:
        if len(batch[0]) == bad:
            raise IndexError(f"the user's own mistake at {bad}")
        return model(batch[0]).square().mean()

    return {"model": Wide(), "train_loader": DataLoader(data(), batch_size), "step": step}


def normed(batch_size: int = 8) -> dict[str, Any]:
    """A batch norm, which cannot train on one sample."""
    return parts(DataLoader(data(), batch_size), nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)))


def acting(batch_size: int = 8, act: str = "hang", at: int = 16) -> dict[str, Any]:
    """Something worse than an exception, from some size on."""
    kept = []

    def step(model: nn.Module, batch: Any) -> Tensor:
        loss = model(batch[0]).square().mean()
        if len(batch[0]) < at:
            return loss
        if act == "hang":
            time.sleep(600)
        elif act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif act == "exhaust":  # as the kernel's killer finds it: much memory, and then signal 9
            kept.append(torch.ones(90 * MIB // 4))
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        elif act == "exit":
            os._exit(3)
        elif act == "leak":
            kept.append(torch.ones(MIB // 4))
        return loss

    return {"model": Wide(), "train_loader": DataLoader(data(), batch_size), "step": step}


class Dying(Dataset):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return torch.zeros(64)


def dying_worker(batch_size: int = 4) -> dict[str, Any]:
    return parts(DataLoader(Dying(), batch_size, num_workers=1))


class Ragged(Dataset):
    """One sample of a hundred is a hundred times as long."""

    def __len__(self) -> int:
        return 4096

    def __getitem__(self, index: int) -> Tensor:
        return torch.zeros(64 if index % 128 == 64 else 1, 64)


def pad(samples: list[Tensor]) -> tuple[Tensor, Tensor]:
    inputs = nn.utils.rnn.pad_sequence(samples, batch_first=True)
    return inputs, torch.zeros(inputs.shape[:1], dtype=torch.long)


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(64, 256)
        self.head = nn.Linear(256, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.tanh(self.wide(inputs)).mean(1))


def ragged(batch_size: int = 4) -> dict[str, Any]:
    return parts(DataLoader(Ragged(), batch_size, collate_fn=pad), Mean())


def raises_in_build(batch_size: int = 4) -> dict[str, Any]:
    raise ZeroDivisionError("in build")


def looks_at_values(batch_size: int = 4) -> dict[str, Any]:
    def step(model: nn.Module, batch: Any) -> Tensor:
        loss = model(batch[0]).square().mean()
        return loss if loss.item() >= 0 else -loss

    return {"model": Wide(), "train_loader": DataLoader(data(), batch_size), "step": step}
