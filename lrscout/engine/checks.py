"""What a model and its optimizers must be like to be trained, checked before the first step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from lrscout.engine.rates import configured_rate
from lrscout.errors import UsageError, WorkloadError


def check_model(model: torch.nn.Module, precision: str) -> None:
    """See that every parameter and buffer has values, of a type that the precision allows.

    Raises:
        WorkloadError: one has no shape or no values yet.
        UsageError: the precision does not allow its type.
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if torch.nn.parameter.is_lazy(tensor):
            raise WorkloadError(
                f"The lazy parameter {name!r} has no shape yet.",
                hint="Run one batch through the model in build().",
            )
        if tensor.is_meta:
            raise WorkloadError(
                f"The parameter {name!r} is on the meta device and has no values.",
                hint="Load the weights in build(), or call model.to_empty() and initialize them.",
            )
        if precision == "fp16" and tensor.dtype is torch.float16 and tensor.requires_grad:
            raise UsageError(
                f"--precision fp16 requires weights in fp32, but the parameter {name!r} is in fp16.",
                hint="Keep the weights in fp32, or leave out --precision.",
            )


def check_optimizers(optimizers: Sequence[Optimizer]) -> None:
    """See that every optimizer has parameters, rates to scale, and a step that needs no closure.

    Raises:
        UsageError: one has not.
    """
    for optimizer in optimizers:
        name = type(optimizer).__name__
        if not any(group["params"] for group in optimizer.param_groups):
            raise UsageError(f"{name} has no parameters.", hint="Create it from the parameters of the model.")
        if _needs_closure(optimizer):
            raise UsageError(
                f"{name} evaluates the loss in its step, which needs a closure, but lrscout evaluates it only once.",
                hint="Use an optimizer whose step() needs no closure, such as adamw or sgd.",
            )
        if any(group.get("lr") is None for group in optimizer.param_groups):
            raise UsageError(
                f"{name} has a parameter group without a learning rate.",
                hint="Set its lr: lrscout scales the rates of all groups.",
            )
        for rate in map(configured_rate, optimizer.param_groups):
            if not _is_usable(rate):
                raise UsageError(
                    f"{name} has a parameter group with a learning rate of {rate!r}.",
                    hint="Give it a number of at least 0: lrscout keeps the ratios between the rates of the groups.",
                )


def _is_usable(rate: Any) -> bool:
    try:
        return not isinstance(rate, str) and 0 <= float(rate) < math.inf
    except (TypeError, ValueError):
        return False


def _needs_closure(optimizer: Optimizer) -> bool:
    """Whether `step` has a parameter without a default, as LBFGS's has."""
    try:  # by the class: a scheduler wraps the step of its optimizer
        inspect.signature(type(optimizer).step).bind(optimizer)
    except TypeError:
        return True
    except ValueError:  # it tells nothing of its parameters
        return False
    return False
