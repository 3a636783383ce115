"""The shape of a batch, found in the arguments of a module."""

from __future__ import annotations

from typing import Any

import torch

DEPTH = 3  # of tuples and dicts that hold a batch


def shape_of_first(arguments: Any, depth: int = DEPTH) -> list[int] | None:
    """The shape of the first tensor; a list of tensors counts as one, with its length first. None without tensors."""
    if isinstance(arguments, torch.Tensor):
        return list(arguments.shape) if arguments.dim() else None
    if isinstance(arguments, dict):
        arguments = list(arguments.values())
    if not isinstance(arguments, (list, tuple)) or not depth:
        return None
    for each in arguments:
        if isinstance(each, list) and each and all(isinstance(item, torch.Tensor) for item in each):
            return [len(each), *each[0].shape]  # images of different sizes
        shape = shape_of_first(each, depth - 1)
        if shape is not None:
            return shape
    return None
