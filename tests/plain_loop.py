"""A training loop as one writes it by hand, which lrscout's steps are to equal bit for bit."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lrscout

Build = Callable[[], Mapping[str, Any]]  # makes a model, a train_loader, an optimizer, and a loss_fn or a step
SWEEP: dict[str, Any] = {
    "min_lr": 1e-3,
    "max_lr": 0.1,
    "steps": 20,
    "early_stop": False,
    "rule": "steepest",
    "device": "cpu",
}


def swept(build: Build, **settings: Any) -> tuple[list[float], list[float]]:
    """The rates and the losses of one sweep of find_lr."""
    points = lrscout.find_lr(build, **{**SWEEP, **settings}).points
    return [point.lr for point in points], [point.loss for point in points]


def trained_by_hand(
    build: Build,
    *,
    accumulate: int = 1,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    precision: str = "fp32",
    val_batches: int = 0,
) -> tuple[list[float], list[float]]:
    """The rates of the same sweep, and the losses of a plain loop at them."""
    low, high, steps = SWEEP["min_lr"], SWEEP["max_lr"], SWEEP["steps"]
    rates = [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]
    rates[-1] = high
    _seed()
    parts = build()
    _seed()
    model, optimizer = parts["model"], parts["optimizer"]
    model.train()
    autocast = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()
    largest = max(float(group["lr"]) for group in optimizer.param_groups)
    ratios = [float(group["lr"]) / largest for group in optimizer.param_groups]
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    held_out = list(itertools.islice(parts["val_loader"], val_batches)) if val_batches else []
    batches = _endlessly(parts["train_loader"])
    losses = []
    for rate in rates:
        for group, ratio in zip(optimizer.param_groups, ratios):
            group["lr"] = torch.tensor(rate * ratio) if isinstance(group["lr"], Tensor) else rate * ratio
        optimizer.zero_grad()
        total = torch.zeros(())
        for _ in range(accumulate):
            with autocast:
                loss = _loss(parts, next(batches))
            (loss / accumulate).backward()
            total = total + loss.detach()
        if clip_value is not None:
            torch.nn.utils.clip_grad_value_(trained, clip_value)
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(trained, clip_norm)
        optimizer.step()
        with autocast:
            losses.append((_mean_loss(parts, held_out) if held_out else total / accumulate).item())
    return rates, losses


def _loss(parts: Mapping[str, Any], batch: Any) -> Tensor:
    if "step" in parts:
        return parts["step"](batch)
    inputs, target = batch
    return parts["loss_fn"](parts["model"](inputs), target)


@torch.no_grad()
def _mean_loss(parts: Mapping[str, Any], batches: Sequence[Any]) -> Tensor:
    parts["model"].eval()
    loss = torch.stack([_loss(parts, batch) for batch in batches]).mean()
    parts["model"].train()
    return loss


def _endlessly(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
