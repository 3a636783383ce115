"""The result of find-batch-size --dry-run."""

from __future__ import annotations

from lrscout.engine.trials.requests import ShapeEstimate
from lrscout.results import BatchSizeResult, MemoryBudget, MemoryEstimate, MemoryModel


def estimated(shapes: ShapeEstimate, budget: MemoryBudget) -> BatchSizeResult:
    """The result of an estimate: no size is recommended, since none ran."""
    assert budget.limit_bytes is not None
    room = budget.limit_bytes - shapes.base_bytes
    would_fit = max(0, room // max(1, shapes.bytes_per_sample))
    return BatchSizeResult(
        batch_size=None,
        reason="this is an estimate: allocators, kernels and reduced precision change it",
        largest_fitting=None,
        fastest=None,
        mode="dry-run",
        stop_reason="estimate",
        trials=(),
        memory_model=MemoryModel(shapes.base_bytes, shapes.bytes_per_sample, 0.0),
        budget_bytes=budget.bytes,
        margin=budget.margin,
        seconds=0.0,
        estimate=MemoryEstimate(
            shapes.parameter_bytes,
            shapes.gradient_bytes,
            shapes.optimizer_bytes,
            shapes.bytes_per_sample,
            would_fit or None,
        ),
    )
