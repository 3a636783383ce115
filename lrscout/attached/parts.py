"""What the memory of a training step is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.optim.optimizer import Optimizer


class Parts:
    """Weights, gradients and optimizer state by their sizes, and activations by what is held before a backward pass."""

    def __init__(self) -> None:
        self._before_backward: int | None = None  # held without gradients, since the last step
        self._began = False

    def backward_begins(self, held: int | None, weights: Sequence[Tensor]) -> None:
        """Note the first backward pass of a step; those of further micro-batches find gradients."""
        if not self._began:
            self._began = True
            self._before_backward = None if held is None else held - _gradients(weights)

    def step_ended(
        self, held: int | None, weights: Sequence[Tensor], optimizers: Iterable[Optimizer]
    ) -> dict[str, int | None]:
        """The parts in bytes, by their names in a Trial, before the gradients are dropped."""
        self._began = False
        gradients, activations = _gradients(weights), None
        if held is not None and self._before_backward is not None:
            activations = max(0, self._before_backward - (held - gradients))
        return {
            "weight_bytes": bytes_of(weights),
            "gradient_bytes": gradients,
            "optimizer_state_bytes": bytes_of(_tensors([optimizer.state for optimizer in optimizers])),
            "activation_bytes": activations,
        }


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """The size of all tensors together; of a DTensor, what this rank holds."""
    own = (getattr(tensor, "_local_tensor", tensor) for tensor in tensors)
    return sum(int(tensor.numel() * tensor.element_size()) for tensor in own)


def _gradients(weights: Iterable[Tensor]) -> int:
    return bytes_of(weight.grad for weight in weights if weight.grad is not None)


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in nested lists and mappings."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [found for each in value for found in _tensors(each)] if isinstance(value, (list, tuple)) else []
