"""The loss in what a step of a LightningModule returns or logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lrscout.errors import WorkloadError


class NoLossError(WorkloadError):
    """A step that neither returns a loss nor logs one."""


def training_loss(output: Any, logged: Mapping[str, Any], name: str, manual: bool) -> Any:
    """What the step called `name` returned.

    A manual one may have logged it as train_loss, or under names that end in loss: their sum.
    """
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if loss is not None:
        return loss  # checked by the session
    if not manual:
        raise NoLossError(
            f"{name} returned no loss for a batch, and lrscout takes a step with every batch.",
            hint="Return the loss. To leave batches out, as Lightning does then, search a training command:"
            " lrscout find-lr -- python train.py",
        )
    found = [key for key in logged if key == "train_loss"] or [key for key in logged if key.endswith("loss")]
    return _sum_of(found, logged, name, "train_loss")


def validation_loss(output: Any, logged: Mapping[str, Any], name: str) -> Any:
    """What the step called `name` returned, or logged as val_loss, or under the only name with loss in it.

    It may return anything else, such as predictions.
    """
    loss = output.get("loss", output.get("val_loss")) if isinstance(output, Mapping) else output
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return loss
    named = [key for key in logged if "loss" in key.lower()]
    found = [key for key in logged if key == "val_loss"] or (named if len(named) == 1 else [])
    return _sum_of(found, logged, name, "val_loss")


def _sum_of(found: list[str], logged: Mapping[str, Any], name: str, preferred: str) -> Tensor:
    if not found:
        told = f"only logs {', '.join(map(repr, logged))}" if logged else "logs nothing"
        raise NoLossError(
            f"{name} returns no loss, and {told}.", hint=f"Return the loss, or call self.log({preferred!r}, loss)."
        )
    return torch.stack([torch.as_tensor(logged[key]).detach().float().reshape(()) for key in found]).sum()
