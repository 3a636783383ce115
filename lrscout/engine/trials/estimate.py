"""Estimating the memory of a training step from shapes alone, with torch's MemTracker and fake tensors.

Both are private to torch; this is the only module that uses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrscout.attached.parts import bytes_of
from lrscout.engine.batches import tensors_in, to_device
from lrscout.engine.devices import resolve_device
from lrscout.engine.losses import loss_of, losses_in, total_of
from lrscout.engine.optimizers import make_optimizers, parameters_of
from lrscout.engine.trials.feed import Feed
from lrscout.engine.trials.requests import ShapeEstimate
from lrscout.engine.trials.source import Source, dataset_size
from lrscout.engine.workload import Workload, groups_of
from lrscout.errors import LrscoutError, WorkloadError
from lrscout.settings import FindBatchSizeSettings

# The line goes through the peaks at this batch size and at a quarter of it. Shapes cost nothing, and with small batches
# the peak may be in the optimizer step, which says nothing about samples.
LARGER_SIZE = 128
RUN_IT = "Leave out --dry-run: code that uses the values of tensors (.item(), if tensor) has to run."
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
            hint=RUN_IT,
        ) from error
    slope = (large_peak - small_peak) / (sizes[1] - sizes[0])
    return ShapeEstimate(*kinds, base_bytes=round(small_peak - slope * sizes[0]), bytes_per_sample=round(slope))


def _peak(
    source: Source, settings: FindBatchSizeSettings, batch_size: int, longest: int | None
) -> tuple[int, tuple[int, int, int]]:
    """The peak of a step, and the bytes of its parameters, gradients and optimizer state."""
    # imported here, because private modules may be missing: only --dry-run depends on them
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    workload = source.with_batch_size(batch_size)
    if workload.manual:
        raise WorkloadError("A target that is manual cannot be estimated from shapes alone.", hint=RUN_IT)
    named = make_optimizers(workload, settings.optimizer, settings.optimizer_arg)
    optimizers = list(named.all.values())
    device = resolve_device(settings.device, workload)
    batch = next(Feed(workload.train_loader, batch_size, longest))
    # fake tensors run the kernels of their device, as meta tensors do not: attention on meta keeps all of its scores
    fakes = _fakes_in_place(workload, optimizers, device)
    with FakeTensorMode(allow_non_fake_inputs=True), fakes, workload.host.open(workload, device):
        batch = to_device(to_device(batch, META), device)
        compute_loss = loss_of(workload)
        for parameter in parameters_of(optimizers):
            parameter.grad = torch.zeros_like(parameter)
        for optimizer in optimizers:
            optimizer.step()  # creates the optimizer state, which every later step has from the start
            optimizer.zero_grad()
        tracker = MemTracker()
        tracker.track_external(workload.model, *optimizers, *tensors_in(batch))
        with tracker:
            # one pass for all losses: the tracker allows no second
            total_of(losses_in(compute_loss(batch), named), tuple(named.all)).backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers:
                optimizer.step()
        peak = sum(kinds["Total"] for kinds in tracker.get_tracker_snapshot("peak").values())
        parameters = list(workload.model.parameters())
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        states = [optimizer.state for optimizer in optimizers]
        return peak, (bytes_of(parameters), bytes_of(gradients), bytes_of(tensors_in(states)))


@contextmanager
def _fakes_in_place(workload: Workload, optimizers: Sequence[Optimizer], device: torch.device) -> Iterator[None]:
    """Put fake tensors in the place of all weights and buffers, and those back at the end; tied ones stay tied."""
    made: dict[Tensor, Tensor] = {}

    def fake(tensor: Tensor) -> Tensor:
        if tensor not in made:
            copy = tensor.detach().to(device)  # in the mode of fake tensors
            made[tensor] = nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy
        return made[tensor]

    parts = [part for part in (workload.model, workload.loss_fn) if isinstance(part, nn.Module)]
    modules = [module for part in parts for module in part.modules()]
    tensors: list[Any] = [own for module in modules for own in (module._parameters, module._buffers)]
    values, modes = [dict(own) for own in tensors], [module.training for module in modules]
    groups, states = groups_of(optimizers), [dict(each.state) for each in optimizers]
    trained = [group["params"] for group in groups]
    try:
        workload.model.train()
        for own in tensors:
            own.update({name: fake(tensor) for name, tensor in own.items() if tensor is not None})
        for group in groups:
            group["params"] = [fake(parameter) for parameter in group["params"]]
        for optimizer in optimizers:
            optimizer.state.clear()
        yield
    finally:
        for own, before in zip(tensors, values):
            own.update(before)
        for module, training in zip(modules, modes):
            module.training = training
        for group, weights in zip(groups, trained):
            group["params"] = weights
        for optimizer, state in zip(optimizers, states):
            optimizer.state.clear()
            optimizer.state.update(state)
