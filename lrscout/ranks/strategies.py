"""How the ranks share a training: what is wrapped around a model, so that all of them take the same steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from lrscout.engine.checks import needs_closure, steps_twice
from lrscout.engine.devices import move_optimizer_state
from lrscout.engine.losses import loss_of, val_loss_of
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
        self._loss_of, self._val_loss_of = loss_of(workload), val_loss_of(workload)

    def forward(self, batch: Any, held_out: bool = False) -> Any:
        loss = self._val_loss_of(batch) if held_out else self._loss_of(batch)
        if isinstance(loss, Mapping):  # each would need a backward pass of its own
            raise _not_on_ranks("has a loss for each of its optimizers")
        return loss


def check_closures(optimizers: Iterable[Optimizer], strategy: str) -> None:
    """See that none evaluates the loss as often as it likes: by its own share of the data, each rank would step apart.

    One of two steps, like SAM, evaluates it alike on all. With fsdp, it may put back weights that have no effect: what
    is assigned to the `data` of a divided parameter is lost.

    Raises:
        UsageError: one does.
    """
    for optimizer in optimizers:
        if steps_twice(optimizer) and strategy == "fsdp":
            raise UsageError(
                f"{type(optimizer).__name__} moves the weights and puts them back in every step, which cannot be relied"
                " on where FSDP has divided them.",
                hint="Use --strategy ddp.",
            )
        if needs_closure(optimizer) and not steps_twice(optimizer):
            raise UsageError(
                f"{type(optimizer).__name__} evaluates the loss in its step, which several ranks cannot do alike: each"
                " sees the loss of its own batches.",
                hint="Search in one process, without --nproc, or train with an optimizer that needs no closure, such as"
                " AdamW or SGD.",
            )


def _not_on_ranks(what: str) -> UsageError:
    return UsageError(
        f"The target {what}, which cannot be trained on several ranks.",
        hint="Write a program that does, and search it: lrscout find-lr -- torchrun --nproc-per-node 2 train.py.",
    )


def ddp(workload: Workload) -> nn.Module:
    """A whole model on every rank; gradients are averaged while they are computed."""
    for optimizer in _instances(workload.optimizer):
        move_optimizer_state(optimizer)
    return DistributedDataParallel(LossOfBatch(workload))


def fsdp(workload: Workload) -> nn.Module:
    """A part of every parameter on each rank; a block is gathered while it computes."""
    try:
        from torch.distributed.fsdp import fully_shard  # not above: it is there from torch 2.6 on
    except ImportError:
        raise UsageError(
            f"--strategy fsdp needs torch 2.6 or newer, and this is {torch.__version__}.", hint="Use --strategy ddp."
        ) from None
    before = parameters_in(workload)
    wrapped = LossOfBatch(workload)
    for tensor in (*wrapped.parameters(), *wrapped.buffers()):
        dist.broadcast(tensor.detach(), 0)  # as DDP does: what build() draws may differ from rank to rank
    for block in blocks(*(part for part in (workload.model, workload.loss_fn) if isinstance(part, nn.Module))):
        fully_shard(block)
    fully_shard(wrapped)
    for optimizer in _instances(workload.optimizer):
        _exchange(optimizer, before, parameters_in(workload))
    return wrapped


STRATEGIES: dict[str, Callable[[Workload], nn.Module]] = {"ddp": ddp, "fsdp": fsdp}


def wrapped(workload: Workload, strategy: str, device: torch.device) -> Workload:
    """The workload as the ranks train it together.

    Model and loss_fn stay in it, so that what is trained is what one process would train.

    Raises:
        UsageError: its step is manual, or an optimizer steps what the ranks do not share.
    """
    if workload.manual:
        raise _not_on_ranks("steps its optimizers itself (manual)")
    workload.model.to(device)
    if isinstance(workload.loss_fn, nn.Module):
        workload.loss_fn.to(device)
    if not any(parameter.requires_grad for parameter in workload.model.parameters()):
        raise WorkloadError("No parameter of the model requires grad.", hint="Unfreeze some with requires_grad_().")
    if any(hasattr(parameter, "device_mesh") for parameter in parameters_in(workload).values()):  # DTensors
        raise _not_on_ranks("has divided its model among the ranks already")
    for optimizer in _instances(workload.optimizer):
        _check_shared(optimizer, parameters_in(workload))
    module = STRATEGIES[strategy](workload)
    return replace(workload, step=lambda batch: module(batch), val_step=lambda batch: _evaluated(module, batch))


def _evaluated(module: Any, batch: Any) -> Any:
    """The loss of a held-out batch, after which the ranks have divided all weights again."""
    if isinstance(module, DistributedDataParallel):  # it exchanges buffers, and ranks may have more batches than others
        return module.module(batch, held_out=True)
    try:
        return module(batch, held_out=True)
    finally:
        module.reshard()  # FSDP waits for the backward pass with those outside of blocks


def parameters_in(workload: Workload) -> dict[str, nn.Parameter]:
    """The parameters that the ranks share, by name: the model's, and those of a loss_fn that is a module."""
    loss_fn = workload.loss_fn
    of_loss = loss_fn.named_parameters(prefix="loss_fn") if isinstance(loss_fn, nn.Module) else ()
    return {**dict(of_loss), **dict(workload.model.named_parameters())}


def _check_shared(optimizer: Optimizer, named: Mapping[str, nn.Parameter]) -> None:
    known = {id(parameter) for parameter in named.values()}
    foreign = [each for group in optimizer.param_groups for each in group["params"] if id(each) not in known]
    if foreign:
        raise UsageError(
            f"The target's {type(optimizer).__name__} has {len(foreign)} parameters that are neither the model's nor"
            f" the loss_fn's, the first of shape {tuple(foreign[0].shape)}: the ranks would not share them.",
            hint="Make what has them a part of the model, or leave them out of the optimizer.",
        )


def _instances(given: Any) -> list[Optimizer]:
    """The optimizers that a target has made already."""
    each = given.values() if isinstance(given, Mapping) else given if isinstance(given, (list, tuple)) else [given]
    return [optimizer for optimizer in each if isinstance(optimizer, Optimizer)]


def blocks(model: nn.Module, *others: nn.Module) -> Iterator[nn.Module]:
    """The items of the model's outermost lists and sequences that have parameters, none of which is used elsewhere."""
    yield from _blocks(model, _uses(model, *others))


def _uses(*modules: nn.Module) -> Counter[int]:
    """How often each parameter, by its id, is in the modules."""
    return Counter(id(each) for module in modules for _, each in module.named_parameters(remove_duplicate=False))


def _blocks(module: nn.Module, uses: Counter[int]) -> Iterator[nn.Module]:
    is_list = isinstance(module, (nn.ModuleList, nn.Sequential))
    for child in module.children():
        own = _uses(child)
        if not is_list or isinstance(child, (nn.ModuleList, nn.ModuleDict)):  # which are never called themselves
            yield from _blocks(child, uses)
        elif own and all(uses[each] == count for each, count in own.items()):
            yield child


def _exchange(optimizer: Optimizer, before: Mapping[str, nn.Parameter], after: Mapping[str, nn.Parameter]) -> None:
    """Have an optimizer step the parameters that have taken the place of those it was made with."""
    if optimizer.state:
        raise UsageError(
            f"The target's {type(optimizer).__name__} has a state already, which --strategy fsdp cannot divide.",
            hint="Return a function that makes it instead: lambda parameters: torch.optim.AdamW(parameters).",
        )
    name_of = {id(parameter): name for name, parameter in before.items()}
    for group in optimizer.param_groups:
        group["params"] = [after[name_of[id(each)]] for each in group["params"]]
