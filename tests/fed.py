"""Targets whose loaders are slow; in a file of their own, since other processes import them."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info


class Slow(Dataset):
    """Waits for every sample, as for a disk: the workers need no core for that."""

    def __init__(self, seconds: float = 0.002) -> None:
        self.seconds = seconds

    def __len__(self) -> int:
        return 512

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        time.sleep(self.seconds)
        return torch.full((4,), float(index)), torch.tensor(index % 2)


class InWorkersBroken(Slow):
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if get_worker_info() is not None:
            raise ValueError("this file was opened in another process")
        return super().__getitem__(index)


class Stream(IterableDataset):
    """Samples in order; with `splits`, each worker yields a part of them."""

    def __init__(self, splits: bool) -> None:
        self.splits = splits

    def __iter__(self) -> Any:
        info = get_worker_info() if self.splits else None
        for index in range(512) if info is None else range(info.id, 512, info.num_workers):
            yield torch.full((4,), float(index)), torch.tensor(index % 2)


class Batched:
    """A loader of the user's own."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def __iter__(self) -> Any:
        for _ in range(8):
            time.sleep(0.002 * self.batch_size)
            yield torch.zeros(self.batch_size, 4), torch.zeros(self.batch_size, dtype=torch.long)


def parts(loader: Any) -> dict[str, Any]:
    return {"model": nn.Linear(4, 2), "train_loader": loader, "loss_fn": nn.CrossEntropyLoss()}


def slow(batch_size: int = 8, workers: int = 0, persistent: bool = False) -> dict[str, Any]:
    return parts(DataLoader(Slow(), batch_size, num_workers=workers, persistent_workers=persistent))


def quick(batch_size: int = 8) -> dict[str, Any]:
    """Its step is slow instead."""

    def step(model: nn.Module, batch: Any) -> Tensor:
        time.sleep(0.01)
        return model(batch[0]).square().mean()

    return {**parts(DataLoader(Slow(0.0), batch_size)), "step": step, "loss_fn": None}


def broken_in_workers(batch_size: int = 8) -> dict[str, Any]:
    return parts(DataLoader(InWorkersBroken(), batch_size))


def own_loader(batch_size: int = 8) -> dict[str, Any]:
    return parts(Batched(batch_size))
