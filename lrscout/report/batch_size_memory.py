"""What the memory of a training step is made of, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from lrscout.formatting import format_bytes
from lrscout.results import BatchSizeResult, MemoryEstimate, Trial

Table = tuple[Sequence[str], Sequence[Sequence[str]]]  # its head and its rows


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


def memory_tables(result: BatchSizeResult) -> list[Table]:
    """The peaks of each trial by phase, and what the memory of the largest fitting size is made of."""
    trials = sorted(result.trials, key=lambda trial: trial.batch_size)
    measured = [trial for trial in trials if trial.forward_bytes is not None or trial.optimizer_bytes is not None]
    peaks = [(str(t.batch_size), _told(t.forward_bytes), _told(t.optimizer_bytes)) for t in measured]
    found: list[Table] = [(("peak at batch size", "forward and backward", "optimizer step"), peaks)] if peaks else []
    largest = result.trial_of(result.largest_fitting)
    if largest is not None and largest.weight_bytes is not None:
        lines = [(name, _told(size)) for name, size in _parts(largest).items() if size is not None]
        found.append(((f"at size {largest.batch_size}", "memory"), lines))
    return found


def _parts(trial: Trial) -> dict[str, int | None]:
    parts = {
        "weights": trial.weight_bytes,
        "gradients": trial.gradient_bytes,
        "optimizer state": trial.optimizer_state_bytes,
        "activations and batch": trial.activation_bytes,
    }
    if trial.forward_bytes is None or trial.activation_bytes is None:
        return parts
    # gradients are dropped before a forward pass, so the peak need not have all of them
    rest = trial.forward_bytes - sum(size or 0 for size in parts.values())
    return {**parts, "rest of the peak": max(0, rest)}


def _told(size: int | None) -> str:
    return "" if size is None else format_bytes(size)
