"""Whether two runs start from the same state: a hash of the initial weights and the first batches."""

from __future__ import annotations

import hashlib
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
        self._hash = hashlib.sha256()
        self._remaining = HASHED_BATCHES
        for name, value in session.workload.model.state_dict().items():
            self._hash.update(name.encode())
            for tensor in tensors_in(value):  # get_extra_state of a module may return anything
                self._add(tensor)
        session.on_batch = self._add_batch
        self._session = session

    def _add_batch(self, batch: Any) -> None:
        for tensor in tensors_in(batch):
            self._add(tensor)
        self._remaining -= 1
        if not self._remaining:
            self._session.on_batch = None

    def _add(self, tensor: Tensor) -> None:
        self._hash.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        if tensor.layout is torch.strided and tensor.numel():
            elements = tensor.detach().reshape(-1)
            elements = elements[:: max(1, elements.numel() // HASHED_ELEMENTS)].contiguous().cpu()
            self._hash.update(bytes(elements.view(torch.uint8).tolist()))

    def hexdigest(self) -> str:
        """The hash of everything seen so far."""
        return self._hash.hexdigest()[:32]
