"""What is trained: the parameters of a target, and which of them its optimizers have."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from lrscout.engine.checking.subject import Subject
from lrscout.engine.state import reachable
from lrscout.engine.workload import groups_of


@dataclass(frozen=True, slots=True)
class Census:
    """The parameters of a target, by name where something is wrong with them."""

    trained: int
    trained_values: int
    trained_bytes: int
    frozen: int
    frozen_values: int
    frozen_in_optimizer: tuple[str, ...]
    not_in_optimizer: tuple[str, ...]  # trained ones
    strange: int  # parameters of the optimizer that belong to no module of the target
    optimizers: int  # with those that the step has besides


def take_census(subject: Subject) -> Census:
    """Count the parameters."""
    workload, optimizers = subject.workload, subject.whole.optimizers
    known = parameter_names(subject)
    own = {id(parameter) for group in groups_of(optimizers) for parameter in group["params"]}
    steps = () if workload.step is None else (workload.step,)
    others = [each for each in reachable(Optimizer, *steps) if each not in optimizers]
    stepped = own | {id(parameter) for group in groups_of(others) for parameter in group["params"]}
    parameters = {id(p): p for p in _parameters(subject)}
    trained = [p for p in parameters.values() if p.requires_grad]
    frozen = [p for p in parameters.values() if not p.requires_grad]
    modules = reachable(nn.Module, workload.model, workload.loss_fn, *steps)
    everything = {id(p) for module in modules for p in module.parameters()}
    return Census(
        trained=len(trained),
        trained_values=sum(p.numel() for p in trained),
        trained_bytes=sum(p.numel() * p.element_size() for p in trained),
        frozen=len(frozen),
        frozen_values=sum(p.numel() for p in frozen),
        frozen_in_optimizer=tuple(known[id(p)] for p in frozen if id(p) in own),
        not_in_optimizer=tuple(known[id(p)] for p in trained if id(p) not in stepped),
        strange=len(own - everything),
        optimizers=len(optimizers) + len(others),
    )


def parameter_names(subject: Subject) -> dict[int, str]:
    """The name of every parameter of the model and of the loss, by its identity."""
    loss = subject.workload.loss_fn
    of_loss = loss.named_parameters("loss_fn") if isinstance(loss, nn.Module) else ()
    return {id(p): name for name, p in (*of_loss, *subject.workload.model.named_parameters())}


def _parameters(subject: Subject) -> list[torch.nn.Parameter]:
    loss = subject.workload.loss_fn
    return [*subject.workload.model.parameters(), *(loss.parameters() if isinstance(loss, nn.Module) else ())]
