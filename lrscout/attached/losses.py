"""The losses that the program calls backward on, taken without ever waiting for the device."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.amp import grad_scaler

from .patches import Patches, untraced

LIMIT = 10_000  # backward passes without a step: this program updates its weights by itself, and nobody will ask


class Losses:
    """Notes every loss until an optimizer steps on it.

    The gradients of several backward passes add up, and a program that accumulates divides each loss itself, so the
    loss of a step is their sum.
    """

    def __init__(self, patches: Patches) -> None:
        self._parts: list[Any] = []
        self._latest: Loss | None = None
        self._scaled: list[tuple[Any, Any]] = []  # what a GradScaler made of a loss, and the loss
        self._inside = False
        patches.replace(torch.autograd, "backward", self._noting_backward)
        patches.replace(grad_scaler.GradScaler, "scale", self._noting_scale)

    def take(self) -> Loss | None:
        """The loss that the optimizer has just stepped on; None if there was no backward pass at all.

        Two optimizers may step on the same backward passes, one after the other.
        """
        if self._parts:
            self._latest = Loss(self._parts)
            self._forget()
        return self._latest

    @untraced
    def _note(self, tensors: Any) -> None:
        if len(self._parts) >= LIMIT:
            self._forget()
        for tensor in (tensors,) if isinstance(tensors, torch.Tensor) else tensors:
            if isinstance(tensor, torch.Tensor) and tensor.numel() == 1:
                loss = next((loss for scaled, loss in self._scaled if scaled() is tensor), tensor.detach())
                self._parts.append(_taken(loss))

    def _forget(self) -> None:
        self._parts, self._scaled = [], []

    def _noting_backward(self, original: Any) -> Any:
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            if self._inside:  # a checkpoint computes its own backward pass inside that of the loss
                return original(tensors, *args, **kwargs)
            self._inside = True
            try:
                self._note(tensors)
                return original(tensors, *args, **kwargs)
            finally:
                self._inside = False

        return backward

    def _noting_scale(self, original: Any) -> Any:
        def scale(scaler: Any, outputs: Any) -> Any:
            scaled = original(scaler, outputs)
            if isinstance(outputs, torch.Tensor):
                # a weak reference: the scaled loss keeps the graph alive
                self._scaled.append((weakref.ref(scaled), outputs.detach()))
            return scaled

        return scale


class Loss:
    """The loss of one step, the sum over its backward passes."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts

    @classmethod
    def of(cls, loss: torch.Tensor) -> Loss:
        """The loss of a step that is told as a whole, without its graph."""
        return cls([_taken(loss)])

    def arrived(self) -> bool:
        """Whether its value can be had without waiting."""
        return all(isinstance(part, float) or part.arrived() for part in self._parts)

    def value(self) -> float:
        """Its value, which may mean to wait for the device."""
        return sum(part if isinstance(part, float) else part.value() for part in self._parts)


def _taken(loss: torch.Tensor) -> Any:
    return float(loss) if loss.device.type == "cpu" else _OnDevice(loss)


class _OnDevice:
    """One loss on its way to the host."""

    def __init__(self, loss: torch.Tensor) -> None:
        self._event: Any = None
        if loss.is_cuda:
            self._value = torch.empty(loss.shape, dtype=loss.dtype, pin_memory=True)
            self._value.copy_(loss, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(loss.device))
        else:
            self._value = loss.clone()  # the program may change it in place before it is read

    def arrived(self) -> bool:
        return self._event is not None and bool(self._event.query())

    def value(self) -> float:
        if self._event is not None:
            self._event.synchronize()
        return float(self._value.item())
