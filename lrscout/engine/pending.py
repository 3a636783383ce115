"""Losses on their way from the device to the host."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

PENDING_LIMIT = 16  # steps that the host may be ahead of the device before it waits for a loss


class PendingLoss:
    """A loss on its way to the host, which only waits for the device when `value` is called."""

    def __init__(self, loss: Tensor) -> None:
        self._event: Any = None  # a torch.cuda.Event, which torch leaves untyped
        self._loss = loss
        if loss.is_cuda:
            self._loss = torch.empty((), dtype=loss.dtype, pin_memory=True)
            self._loss.copy_(loss, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(loss.device))

    @property
    def can_wait_alone(self) -> bool:
        return self._event is not None

    def arrived(self) -> bool:
        if self._event is not None:
            return bool(self._event.query())
        return self._loss.device.type == "cpu"

    def value(self) -> float:
        if self._event is not None:
            self._event.synchronize()
        return self._loss.item()
