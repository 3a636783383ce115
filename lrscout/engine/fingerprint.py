"""Whether two runs begin alike: a hash of the initial weights and the first batches."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lrscout.engine.session import Session

BATCHES = 2  # the first ones tell one order of the data from another
MOST_ENTRIES = 1 << 12  # of a tensor: of a larger one so many are hashed, evenly spread


class Fingerprint:
    """Reads an open session's weights, and its first batches on their way to the steps."""

    def __init__(self, session: Session) -> None:
        self._hash = hashlib.sha256()
        self._left = BATCHES
        for name, tensor in session.workload.model.state_dict().items():
            self._hash.update(name.encode())
            self._take(tensor)
        session.on_batch = self._take_batch
        self._session = session

    def _take_batch(self, batch: Any) -> None:
        self._take(batch)
        self._left -= 1
        if not self._left:
            self._session.on_batch = None

    def _take(self, value: Any) -> None:
        if isinstance(value, Tensor):
            self._hash.update(f"{value.dtype}{tuple(value.shape)}".encode())
            if value.layout is torch.strided and value.numel():
                entries = value.detach().reshape(-1)
                entries = entries[:: max(1, entries.numel() // MOST_ENTRIES)].contiguous().cpu()
                self._hash.update(bytes(entries.view(torch.uint8).tolist()))
        elif isinstance(value, Mapping):
            for key, item in value.items():
                self._hash.update(str(key).encode())
                self._take(item)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for item in value:
                self._take(item)

    def hexdigest(self) -> str:
        """What was seen so far."""
        return self._hash.hexdigest()[:32]
