"""Copies of batches."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any


class Copies(Iterable[Any]):
    """Batches that are handed over as copies: a step may change its batch in place."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return map(copied, self._batches)


def copied(batch: Any) -> Any:
    """A copy of a batch; the batch itself if it cannot be copied."""
    try:
        return copy.deepcopy(batch)
    except Exception:  # of any type: objects say for themselves how they are copied
        return batch
