"""How the ranks share a training: what is wrapped around a model, so that all of them take the same steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from lrscout.engine.devices import move_optimizer_state
from lrscout.engine.losses import loss_of
from lrscout.engine.workload import Workload
from lrscout.errors import UsageError, WorkloadError


class LossOfBatch(nn.Module):
    """The loss of a batch as the forward pass of a module, so that what wraps it sees all that the loss calls.

    A `step` may call any method of the model, or a model that it has kept from `build()`.
    """

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.model = workload.model
        if isinstance(workload.loss_fn, nn.Module):
            self.loss_fn = workload.loss_fn
        self._loss_of = loss_of(workload)

    def forward(self, batch: Any) -> Any:
        return self._loss_of(batch)


def ddp(workload: Workload) -> nn.Module:
    """A whole model on every rank; gradients are averaged while they are computed."""
    if isinstance(workload.optimizer, Optimizer):
        move_optimizer_state(workload.optimizer)
    return DistributedDataParallel(LossOfBatch(workload))


def fsdp(workload: Workload) -> nn.Module:
    """A part of every parameter on each rank; a block is gathered while it computes."""
    try:
        from torch.distributed.fsdp import fully_shard  # not above: it is there from torch 2.6 on
    except ImportError:
        raise UsageError(
            f"--strategy fsdp needs torch 2.6 or newer, and this is {torch.__version__}.", hint="Use --strategy ddp."
        ) from None
    named = dict(workload.model.named_parameters())
    wrapped = LossOfBatch(workload)
    for tensor in (*wrapped.parameters(), *wrapped.buffers()):
        dist.broadcast(tensor.detach(), 0)  # as DDP does: what build() draws may differ from rank to rank
    for block in blocks(workload.model):
        fully_shard(block)
    fully_shard(wrapped)
    if isinstance(workload.optimizer, Optimizer):
        _exchange(workload.optimizer, named, dict(workload.model.named_parameters()))
    return wrapped


STRATEGIES: dict[str, Callable[[Workload], nn.Module]] = {"ddp": ddp, "fsdp": fsdp}


def wrapped(workload: Workload, strategy: str, device: torch.device) -> Workload:
    """The workload as the ranks train it together."""
    workload.model.to(device)
    if isinstance(workload.loss_fn, nn.Module):
        workload.loss_fn.to(device)
    if not any(parameter.requires_grad for parameter in workload.model.parameters()):
        raise WorkloadError("No parameter of the model requires grad.", hint="Unfreeze some with requires_grad_().")
    module = STRATEGIES[strategy](workload)
    return replace(workload, model=module, loss_fn=None, step=lambda batch: module(batch))


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The items of the model's outermost lists and sequences that have parameters, none of which is used elsewhere."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    yield from _blocks(model, "", names)


def _blocks(module: nn.Module, prefix: str, names: dict[int, list[str]]) -> Iterator[nn.Module]:
    is_list = isinstance(module, (nn.ModuleList, nn.Sequential))
    for key, child in module.named_children():
        place = f"{prefix}{key}."
        own = [names[id(parameter)] for parameter in child.parameters()]
        if not is_list or isinstance(child, (nn.ModuleList, nn.ModuleDict)):  # which are never called themselves
            yield from _blocks(child, place, names)
        elif own and all(name.startswith(place) for used in own for name in used):
            yield child


def _exchange(optimizer: Optimizer, before: dict[str, nn.Parameter], after: dict[str, nn.Parameter]) -> None:
    """Have an optimizer step the parameters that have taken the place of those it was made with."""
    if optimizer.state:
        raise UsageError(
            f"The target's {type(optimizer).__name__} has a state already, which --strategy fsdp cannot divide.",
            hint="Return a function that makes it instead: lambda parameters: torch.optim.AdamW(parameters).",
        )
    name_of = {id(parameter): name for name, parameter in before.items()}
    for group in optimizer.param_groups:
        group["params"] = [after[name_of[id(each)]] if id(each) in name_of else each for each in group["params"]]
