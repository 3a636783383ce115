"""What a model and its optimizers must be like to be trained, checked before the first step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrscout.engine.rates import configured_rate
from lrscout.engine.workload import Workload
from lrscout.errors import UsageError, WorkloadError
from lrscout.settings import SessionSettings


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
    """See that every optimizer has parameters, and rates to scale.

    Raises:
        UsageError: one has not.
    """
    for optimizer in optimizers:
        name = type(optimizer).__name__
        if not any(group["params"] for group in optimizer.param_groups):
            raise UsageError(f"{name} has no parameters.", hint="Create it from the parameters of the model.")
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


def check_steps(workload: Workload, optimizers: Sequence[Optimizer], settings: SessionSettings) -> None:
    """See that steps can be taken in the way that the settings ask for.

    Raises:
        UsageError: a step of the target's own, or an optimizer that evaluates the loss itself, leaves no room for it.
    """
    closures = [type(each).__name__ for each in optimizers if needs_closure(each)]
    if closures and len(optimizers) > 1 and not workload.manual:
        raise UsageError(
            f"{closures[0]} evaluates the loss in its step, which lrscout gives only to an optimizer that is alone.",
            hint="Let the target's step call each optimizer's step itself, with manual=True.",
        )
    if closures and settings.precision == "fp16":
        raise UsageError(
            f"{closures[0]} evaluates the loss in its step, which a gradient scaler does not allow.",
            hint="Use --precision bf16, or leave it out.",
        )
    if not workload.manual:
        return
    given = {
        "--accumulate": (settings.accumulate or 1) > 1,
        "--clip-norm": settings.clip_norm is not None,
        "--clip-value": settings.clip_value is not None,
        "--precision fp16": settings.precision == "fp16",
    }
    for flag, is_given in given.items():
        if is_given:
            raise UsageError(
                f"{flag} has no effect on a target that is manual: its step calls backward and the optimizers itself.",
                hint=f"Leave {flag} out, and do the same in the target's step if need be.",
            )


def needs_closure(optimizer: Optimizer) -> bool:
    """Whether an optimizer evaluates the loss itself: its step has a parameter without a default, or it steps twice."""
    if steps_twice(optimizer):
        return True
    try:  # by the class: a scheduler wraps the step of its optimizer
        inspect.signature(type(optimizer).step).bind(optimizer)
    except TypeError:
        return True
    except ValueError:  # it tells nothing of its parameters
        return False
    return False


def steps_twice(optimizer: Any) -> bool:
    """Whether an optimizer has the two steps of SAM, with gradients of their own."""
    return callable(getattr(optimizer, "first_step", None)) and callable(getattr(optimizer, "second_step", None))


def check_no_gradients(parameters: Sequence[Tensor]) -> None:
    """See, before the first backward pass, that the target has made none.

    Raises:
        WorkloadError: it has.
    """
    if any(parameter.grad is not None and float(parameter.grad.abs().sum()) for parameter in parameters):
        raise WorkloadError(
            "The target has called backward() before it returned the loss, so the gradients would count twice.",
            hint="Return the loss alone: lrscout calls backward() and steps the optimizer. A step that does both itself"
            " goes with manual=True.",
        )


def check_gradients(parameters: Sequence[Tensor]) -> None:
    """See that the first backward pass has reached a parameter.

    Raises:
        WorkloadError: it has not.
    """
    if all(parameter.grad is None for parameter in parameters):
        raise WorkloadError(
            "No parameter of the optimizer receives a gradient from the loss.",
            hint="Create the optimizer from the parameters of this model.",
        )
