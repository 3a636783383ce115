"""Estimating the memory of a training step from shapes alone, with torch's MemTracker on the meta device.

MemTracker is private to torch.distributed; this is the only module that uses it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrscout.engine.batches import tensors_in, to_device
from lrscout.engine.session import scalar
from lrscout.engine.trials.feed import Feed
from lrscout.engine.trials.requests import ShapeEstimate
from lrscout.engine.trials.source import Source, dataset_size
from lrscout.engine.workload import Workload, loss_of, make_optimizer
from lrscout.errors import LrscoutError, WorkloadError
from lrscout.settings import FindBatchSizeSettings

# The line goes through the peaks at this batch size and at a quarter of it. Shapes cost nothing, and with small batches
# the peak may be in the optimizer step, which says nothing about samples.
LARGER_SIZE = 128
META = torch.device("meta")


def estimate_step(source: Source, settings: FindBatchSizeSettings, longest: int | None) -> ShapeEstimate:
    """Estimate the memory of a step without running one.

    Raises:
        WorkloadError: the step depends on values of tensors, or this version of torch has no MemTracker.
    """
    try:
        count = dataset_size(source.default(settings.min).train_loader)
        larger = LARGER_SIZE if count is None else max(2, min(LARGER_SIZE, count))
        sizes = max(1, larger // 4), larger
        (small_peak, kinds), (large_peak, _) = (_peak(source, settings, size, longest) for size in sizes)
    except LrscoutError:
        raise
    except Exception as error:
        raise WorkloadError(
            f"The step cannot be estimated from shapes alone: {type(error).__name__}: {error}",
            hint="Leave out --dry-run: code that uses the values of tensors (.item(), if tensor) has to run.",
        ) from error
    slope = (large_peak - small_peak) / (sizes[1] - sizes[0])
    return ShapeEstimate(*kinds, base_bytes=round(small_peak - slope * sizes[0]), bytes_per_sample=round(slope))


def _peak(
    source: Source, settings: FindBatchSizeSettings, batch_size: int, longest: int | None
) -> tuple[int, tuple[int, int, int]]:
    """The peak of a step, and the bytes of its parameters, gradients and optimizer state."""
    # imported here, because a private module may be missing: only --dry-run depends on it
    from torch.distributed._tools.mem_tracker import MemTracker

    workload = source.with_batch_size(batch_size)
    optimizer, _ = make_optimizer(workload, settings.optimizer, settings.optimizer_arg)
    batch = to_device(next(Feed(workload.train_loader, batch_size, longest)), META)
    workload = _on_meta(workload, optimizer)
    compute_loss = loss_of(workload)
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # creates the optimizer state, which every later step has from the start
    optimizer.zero_grad()
    tracker = MemTracker()
    tracker.track_external(workload.model, optimizer, *tensors_in(batch))
    with tracker, META:
        scalar(compute_loss(batch)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    peak = sum(kinds["Total"] for kinds in tracker.get_tracker_snapshot("peak").values())
    parameters = list(workload.model.parameters())
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return peak, (bytes_of(parameters), bytes_of(gradients), bytes_of(tensors_in(optimizer.state)))


def _on_meta(workload: Workload, optimizer: Optimizer) -> Workload:
    """Move the weights of a workload to the meta device, including those in its optimizer."""
    before = list(workload.model.parameters())
    workload.model.to(META).train()
    after = dict(zip(map(id, before), workload.model.parameters()))
    for group in optimizer.param_groups:
        group["params"] = [after.get(id(parameter), parameter) for parameter in group["params"]]
    optimizer.state.clear()
    if isinstance(workload.loss_fn, nn.Module):
        return dataclasses.replace(workload, loss_fn=workload.loss_fn.to(META))
    return workload


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """The size of all tensors together."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
