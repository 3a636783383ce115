"""What the memory of a trial's steps says about its size; without torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from lrscout.formatting import format_bytes

EXTRA_STEPS = 4  # to run after `trial_steps` if memory grows, before that counts as a leak
LEAK_BYTES = 256 * 1024  # added by every step; less is not a leak, because allocators fluctuate


def over_limit(peak: int | None, limit: int | None) -> str | None:
    """Why a peak does not count as fitting; None if it does."""
    if peak is None or limit is None or peak <= limit:
        return None
    return f"The step took {format_bytes(peak)}, more than the limit of {format_bytes(limit)}."


def memory_growth(held: Sequence[int | None]) -> int | None:
    """The median of what each step adds to the memory held; None if it is small. The first step only fills caches."""
    added = [b - a for a, b in pairwise(held[1:]) if a is not None and b is not None]
    growth = median(added) if added else 0
    return int(growth) if growth > LEAK_BYTES else None
