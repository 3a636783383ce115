"""Targets that leave signs of where and how they run; in a file of their own, since other processes import them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import sizable
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader


def paced(seconds: float = 0.0, seconds_a_sample: float = 0.0) -> dict[str, Any]:
    """A step takes so long, and so much longer for every sample: how throughput follows the size is no chance."""

    def step(model: nn.Module, batch: Any) -> Tensor:
        time.sleep(seconds + seconds_a_sample * len(batch[0]))
        return model(batch[0]).square().mean()

    return {"model": nn.Linear(64, 2), "train_loader": DataLoader(sizable.data(), 8), "step": step}


def noted(batch_size: int = 8, file: str = "built") -> dict[str, Any]:
    """Adds a line to the file: the process that builds it, and its threads."""
    with Path(file).open("a") as lines:
        lines.write(f"{os.getpid()} {torch.get_num_threads()}\n")
    return sizable.build(batch_size)


def hanging(batch_size: int = 8, at: int = 16, file: str = "hanging") -> dict[str, Any]:
    """Hangs in its first step from some size on; the file has the process that does."""

    def step(model: nn.Module, batch: Any) -> Tensor:
        if len(batch[0]) >= at:
            unfinished = Path(f"{file}.unfinished")
            unfinished.write_text(str(os.getpid()))
            unfinished.rename(file)
            time.sleep(600)
        return model(batch[0]).square().mean()

    return {**sizable.build(batch_size), "step": step, "loss_fn": None}
