"""The parts of a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lrscout.engine.batches import tensors_in
from lrscout.results import BatchField

MOST_FIELDS = 24
MOST_ITEMS = 8  # of a list whose items are shown one by one
DEEPEST = 6  # level


def fields_of_batch(batch: Any) -> tuple[BatchField, ...]:
    """Every part of a batch at any depth, and a last one that stands for what is too much."""
    found: list[BatchField] = []
    for field in _fields("", batch, 0):
        if len(found) == MOST_FIELDS:
            return (*found, BatchField("...", None, "more", None))
        found.append(field)
    return tuple(found)


def _fields(name: str, part: Any, depth: int) -> Iterator[BatchField]:
    if isinstance(part, Tensor):
        yield BatchField(name or "batch", tuple(part.shape), str(part.dtype).removeprefix("torch."), str(part.device))
        return
    parts = None if depth == DEEPEST else _named_parts(part)
    if not parts:
        yield BatchField(name or "batch", None, _kind(part), None)
        return
    for key, value in parts:
        yield from _fields(f"{name}.{key}" if name else key, value, depth + 1)


def _named_parts(part: Any) -> list[tuple[str, Any]] | None:
    """The parts by position or key; None of what has none, or too many of a kind."""
    if isinstance(part, Mapping):
        return [(str(key), value) for key, value in part.items()]
    if isinstance(part, tuple) and hasattr(part, "_fields"):
        return list(zip(part._fields, part))
    if isinstance(part, Sequence) and not isinstance(part, (str, bytes)):
        plain = not any(isinstance(item, (Tensor, Mapping, Sequence)) and not isinstance(item, str) for item in part)
        return None if plain or len(part) > MOST_ITEMS else [(str(i), item) for i, item in enumerate(part)]
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return [(field.name, getattr(part, field.name)) for field in dataclasses.fields(part)]
    if isinstance(getattr(part, "__dict__", None), dict) and not isinstance(part, type):  # such as a batch of graphs
        return [(name, value) for name, value in vars(part).items() if next(tensors_in(value), None) is not None]
    return None


def _kind(part: Any) -> str:
    kind = type(part).__name__
    if isinstance(part, Sequence) and not isinstance(part, (str, bytes)):
        kinds = sorted({type(item).__name__ for item in part})
        return f"{kind} of {len(part)} {' or '.join(kinds[:3])}" if kinds else f"{kind}, empty"
    return kind


def without_numbers(batch: Any) -> list[str]:
    """The names of the parts that have a nan in them."""
    return [name for name, tensor in _tensors(batch) if tensor.is_floating_point() and bool(torch.isnan(tensor).any())]


def _tensors(batch: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    if isinstance(batch, Tensor):
        yield name or "batch", batch
    elif depth < DEEPEST:
        for key, value in _named_parts(batch) or ():
            yield from _tensors(value, f"{name}.{key}" if name else key, depth + 1)
