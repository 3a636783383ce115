"""Whether two runs start from the same state: hashes of the initial weights and the first batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lrscout.engine.batches import tensors_in
from lrscout.engine.session import Session

HASHED_BATCHES = 2  # enough to distinguish two orders of the data
HASHED_ELEMENTS = 1 << 12  # of a tensor; a larger one is sampled evenly, at fewer than twice as many elements


class Fingerprint:
    """Hashes the weights of an open session, and its first batches as the steps take them."""

    def __init__(self, session: Session) -> None:
        self._weights = weights_digest(session.workload.model)
        self._hash = hashlib.sha256()
        self._remaining = HASHED_BATCHES
        session.on_batch.append(self._add_batch)
        self._session = session

    def _add_batch(self, batch: Any) -> None:
        for tensor in tensors_in(batch):
            _add(self._hash, tensor)
        self._remaining -= 1
        if not self._remaining:
            self._session.on_batch.remove(self._add_batch)

    def text(self) -> str:
        """The hash of the weights, a blank, and that of the batches seen so far."""
        return f"{self._weights} {self._hash.hexdigest()[:16]}"


def weights_digest(model: torch.nn.Module) -> str:
    """A hash of the weights and buffers of a model."""
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(name.encode())
        for tensor in tensors_in(value):  # get_extra_state of a module may return anything
            _add(found, tensor)
    return found.hexdigest()[:16]


def tensors_digest(tensors: Iterable[Tensor]) -> str:
    """A hash of some tensors."""
    found = hashlib.sha256()
    for tensor in tensors:
        _add(found, tensor)
    return found.hexdigest()[:16]


def _add(found: hashlib._Hash, tensor: Tensor) -> None:
    found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    if tensor.layout is torch.strided and tensor.numel():
        elements = tensor.detach().reshape(-1)
        elements = elements[:: max(1, elements.numel() // HASHED_ELEMENTS)].contiguous().cpu()
        found.update(bytes(elements.view(torch.uint8).tolist()))
