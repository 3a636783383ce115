"""What a training step would take, from shapes alone: torch's MemTracker on the meta device.

MemTracker is private to torch.distributed; this is the only place that knows it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

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

LARGE = 128  # samples that the line of the peak goes through, and a quarter of them: shapes cost nothing, and in
# small batches the optimizer's step may be the peak, which says nothing of a sample
META = torch.device("meta")


def estimate_step(source: Source, settings: FindBatchSizeSettings, longest: int | None) -> ShapeEstimate:
    """The memory of a step without running one.

    Raises:
        WorkloadError: the model cannot be followed by shapes alone, or this torch has no MemTracker.
    """
    try:
        count = dataset_size(source.own(settings.min).train_loader)
        most = LARGE if count is None else max(2, min(LARGE, count))
        sizes = max(1, most // 4), most
        (small, kinds), (large, _) = (_peak(source, settings, size, longest) for size in sizes)
    except LrscoutError:
        raise
    except Exception as error:
        raise WorkloadError(
            f"The step cannot be followed by shapes alone: {type(error).__name__}: {error}",
            hint="Values that steer the model (.item(), if tensor) have none there. Leave out --dry-run.",
        ) from error
    slope = (large - small) / (sizes[1] - sizes[0])
    return ShapeEstimate(*kinds, base_bytes=round(small - slope * sizes[0]), bytes_per_sample=round(slope))


def _peak(
    source: Source, settings: FindBatchSizeSettings, batch_size: int, longest: int | None
) -> tuple[int, tuple[int, int, int]]:
    """The peak of a step, and what parameters, gradients and optimizer state take of it."""
    from torch.distributed._tools.mem_tracker import MemTracker

    workload = source.sized(batch_size)
    optimizer, _ = make_optimizer(workload, settings.optimizer, settings.optimizer_arg)
    batch = to_device(next(Feed(workload.train_loader, batch_size, longest)), META)
    workload = _on_meta(workload, optimizer)
    compute_loss = loss_of(workload)
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # for its state, which every later step finds there
    optimizer.zero_grad()
    tracker = MemTracker()
    tracker.track_external(workload.model, optimizer, *tensors_in(batch))
    with tracker, META:
        scalar(compute_loss(batch)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    peak = sum(kinds["Total"] for kinds in tracker.get_tracker_snapshot("peak").values())
    state = [value for entry in optimizer.state.values() for value in entry.values() if isinstance(value, Tensor)]
    parameters = list(workload.model.parameters())
    return peak, (_bytes(parameters), _bytes(p.grad for p in parameters if p.grad is not None), _bytes(state))


def _on_meta(workload: Workload, optimizer: Optimizer) -> Workload:
    """The workload with its weights on the meta device, in the optimizer too."""
    before = list(workload.model.parameters())
    workload.model.to(META).train()
    after = dict(zip(map(id, before), workload.model.parameters()))
    for group in optimizer.param_groups:
        group["params"] = [after.get(id(parameter), parameter) for parameter in group["params"]]
    optimizer.state.clear()
    if isinstance(workload.loss_fn, nn.Module):
        return dataclasses.replace(workload, loss_fn=workload.loss_fn.to(META))
    return workload


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
