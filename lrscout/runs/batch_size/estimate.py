"""The result of find-batch-size --dry-run."""

from __future__ import annotations

from typing import Literal

from lrscout.engine.trials.requests import ShapeEstimate
from lrscout.formatting import format_bytes
from lrscout.results import BatchSizeResult, MemoryBudget, MemoryEstimate, MemoryModel
from lrscout.search.batch_size import Search, multiple_below

Limit = Literal["memory", "dataset", "max"]
# docs/batch_size.md has the figures
MEASURED_ERROR = (
    "the estimated memory was within 5% of that of trials in fp32 on the CPU; GPUs and low precision are untested"
)


def estimated(
    shapes: ShapeEstimate, budget: MemoryBudget, search: Search, ceiling_reason: Limit, step: int | None = None
) -> BatchSizeResult:
    """The result of an estimate within the bounds of a search: no size is recommended, since none ran.

    If `step` is given, its multiples are preferred.
    """
    assert budget.limit_bytes is not None
    room = budget.limit_bytes - shapes.base_bytes
    in_memory = max(0, room // max(1, shapes.bytes_per_sample))
    limited_by: Limit = "memory" if in_memory < search.ceiling else ceiling_reason
    size = min(in_memory, search.ceiling)
    if step is not None and multiple_below(size, step) >= search.smallest:
        size = multiple_below(size, step)
    model = MemoryModel(shapes.base_bytes, shapes.bytes_per_sample, 0.0)
    fits = size >= search.smallest
    return BatchSizeResult(
        batch_size=None,
        reason=_limit(limited_by, in_memory, search) if fits else _why_none(model, search, budget.limit_bytes),
        largest_fitting=None,
        fastest=None,
        mode="dry-run",
        stop_reason="estimate",
        trials=(),
        memory_model=model,
        budget_bytes=budget.bytes,
        margin=budget.margin,
        seconds=0.0,
        estimate=MemoryEstimate(
            shapes.parameter_bytes,
            shapes.gradient_bytes,
            shapes.optimizer_bytes,
            shapes.bytes_per_sample,
            size if fits else None,
            in_memory,
            limited_by,
            shapes.target_bytes,
        ),
    )


def _limit(limited_by: Limit, in_memory: int, search: Search) -> str:
    if limited_by == "memory":
        return f"memory is the limit; {MEASURED_ERROR}"
    limit = f"the dataset has {search.ceiling:,} samples" if limited_by == "dataset" else f"--max is {search.ceiling:,}"
    return f"{limit}, which is the limit: memory would allow about {in_memory:,}"


def _why_none(model: MemoryModel, search: Search, limit_bytes: int) -> str:
    smallest = f"{search.smallest} samples need" if search.smallest > 1 else "one sample needs"
    needed = format_bytes(model.peak_bytes(search.smallest))
    return f"{smallest} about {needed}, and the budget allows {format_bytes(limit_bytes)}"
