"""What the memory of a training step is made of, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from lrscout.formatting import format_bytes
from lrscout.results import MemoryEstimate

Table = tuple[Sequence[str], list[tuple[str, ...]]]  # its head and its rows


def estimate_table(estimate: MemoryEstimate) -> Table:
    """The parts of an estimate."""
    parts = {
        "parameters": estimate.parameter_bytes,
        "gradients": estimate.gradient_bytes,
        "optimizer state": estimate.optimizer_bytes,
        "activations per sample": estimate.activation_bytes_per_sample,
    }
    parts |= {"modules and data": estimate.target_bytes} if estimate.target_bytes else {}
    return ("estimated", "memory"), [(name, format_bytes(size)) for name, size in parts.items()]
