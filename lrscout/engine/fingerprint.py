"""Whether two runs begin alike: a hash of the initial weights and the first batches."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from lrscout.engine.batches import tensors_in
from lrscout.engine.session import Session

BATCHES = 2  # the first ones tell one order of the data from another
MOST_ENTRIES = 1 << 12  # of a tensor: of a larger one so many are hashed, evenly spread


class Fingerprint:
    """Reads an open session's weights, and its first batches on their way to the steps."""

    def __init__(self, session: Session) -> None:
        self._hash = hashlib.sha256()
        self._left = BATCHES
        for name, value in session.workload.model.state_dict().items():
            self._hash.update(name.encode())
            for tensor in tensors_in(value):  # a module may add whatever it likes (get_extra_state)
                self._take(tensor)
        session.on_batch = self._take_batch
        self._session = session

    def _take_batch(self, batch: Any) -> None:
        for tensor in tensors_in(batch):
            self._take(tensor)
        self._left -= 1
        if not self._left:
            self._session.on_batch = None

    def _take(self, tensor: Tensor) -> None:
        self._hash.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        if tensor.layout is torch.strided and tensor.numel():
            entries = tensor.detach().reshape(-1)
            entries = entries[:: max(1, entries.numel() // MOST_ENTRIES)].contiguous().cpu()
            self._hash.update(bytes(entries.view(torch.uint8).tolist()))

    def hexdigest(self) -> str:
        """What was seen so far."""
        return self._hash.hexdigest()[:32]
