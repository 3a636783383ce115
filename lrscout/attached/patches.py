"""Functions of torch that are replaced by our own, and put back."""

from __future__ import annotations

import functools
from typing import Any


class Patches:
    """What was replaced, by whom."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, str, Any, Any]] = []

    def replace(self, owner: Any, name: str, wrap: Any) -> None:
        """Put `wrap(original)` in the place of the original."""
        original = getattr(owner, name)
        ours = functools.wraps(original)(wrap(original))
        setattr(owner, name, ours)
        self._made.append((owner, name, ours, original))

    def undo(self) -> None:
        for owner, name, ours, original in self._made:
            if getattr(owner, name) is ours:  # else somebody has wrapped it again
                setattr(owner, name, original)
