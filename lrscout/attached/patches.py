"""Functions of torch that are replaced by our own, and put back."""

from __future__ import annotations

import functools
from typing import Any

from torch._compile import _disable_dynamo

# Programs compile even their optimizer's step, and a compiler that traces into our hooks fails. The public
# torch.compiler.disable would import the compiler while torch itself is still being imported.
untraced = _disable_dynamo


class Patches:
    """What was replaced, by whom."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, str, Any, Any]] = []

    def replace(self, owner: Any, name: str, wrap: Any) -> None:
        """Put `wrap(original)` in the place of the original."""
        original = getattr(owner, name)
        # not what it calls in its turn: a compiled layer may be computed again inside a backward pass
        ours = untraced(functools.wraps(original)(wrap(original)), recursive=False)
        setattr(owner, name, ours)
        self._made.append((owner, name, ours, original))

    def undo(self) -> None:
        for owner, name, ours, original in self._made:
            if getattr(owner, name) is ours:  # else somebody has wrapped it again
                setattr(owner, name, original)
