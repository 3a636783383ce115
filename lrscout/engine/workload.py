"""The workload that a target provides: a model, its data, its loss and its optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrscout.engine.batches import check_is_loader, check_workers_can_send
from lrscout.errors import TargetError, UsageError, WorkloadError, did_you_mean
from lrscout.settings import DEFAULT_OPTIMIZER

OptimizerLike = Optimizer | Callable[[Iterable[Tensor]], Optimizer]


@dataclass(frozen=True, slots=True)
class Workload:
    """Everything that a training step needs.

    With `loss_fn`, a batch is `(inputs, target)` and its loss is `loss_fn(model(inputs), target)`, where inputs may
    be a tuple (`model(*inputs)`) or a mapping (`model(**inputs)`). Without it, the model computes its own loss:
    `model(**batch)`, `model(*batch)` or `model(batch)` returns a scalar tensor, or an object with `.loss` or
    `["loss"]`. For anything else, `step(batch)` or `step(model, batch)` returns the loss; lrscout calls backward and
    steps the optimizer.
    """

    model: nn.Module
    train_loader: Iterable[Any]
    loss_fn: Callable[..., Tensor] | None = None
    optimizer: OptimizerLike | None = None  # an instance, or params -> Optimizer
    val_loader: Iterable[Any] | None = None
    step: Callable[..., Tensor] | None = None


KEYS = tuple(f.name for f in fields(Workload))
REQUIRED = ("model", "train_loader")


def from_workload(given: Any) -> Workload | None:
    """A Workload."""
    return given if isinstance(given, Workload) else None


def from_mapping(given: Any) -> Workload | None:
    """A dict with the fields of Workload as keys."""
    if not isinstance(given, Mapping):
        return None
    for key in given:
        if key not in KEYS:
            raise TargetError(f"The target's dict has an unknown key {key!r}.", hint=did_you_mean(str(key), KEYS))
    missing = [key for key in REQUIRED if given.get(key) is None]
    if missing:
        raise TargetError(f"The target's dict lacks {' and '.join(missing)}.", hint=f"Valid keys: {', '.join(KEYS)}.")
    return Workload(**given)


def from_tuple(given: Any) -> Workload | None:
    """A tuple `(model, train_loader[, loss_fn[, optimizer[, val_loader]]])`."""
    if not isinstance(given, tuple):
        return None
    if not 2 <= len(given) <= 5:
        raise TargetError(
            f"The target's tuple has {len(given)} items.",
            hint="It must be (model, train_loader[, loss_fn[, optimizer[, val_loader]]]).",
        )
    return Workload(*given)


def from_attributes(given: Any) -> Workload | None:
    """An object with the attributes of Workload, at least `model` and `train_loader`."""
    if isinstance(given, nn.Module) or not all(getattr(given, key, None) is not None for key in REQUIRED):
        return None
    parts: dict[str, Any] = {key: getattr(given, key, None) for key in KEYS}
    return Workload(**parts)


ADAPTERS: dict[str, Callable[[Any], Workload | None]] = {
    "workload": from_workload,
    "mapping": from_mapping,
    "tuple": from_tuple,
    "attributes": from_attributes,
}
"""The kinds of workload that a target may provide; the first adapter that does not return None is used."""


def make_workload(given: Any) -> Workload:
    """Convert the object that a target provides to a Workload.

    Raises:
        TargetError: no adapter accepts the object, a part of it has the wrong type, or a dataset is its loader.
        WorkloadError: the workers of a loader could not send their batches.
    """
    for adapt in ADAPTERS.values():
        workload = adapt(given)
        if workload is not None:
            return _checked(workload)
    accepted = "; ".join(str(adapt.__doc__).rstrip(".") for adapt in ADAPTERS.values())
    kind = "a model without data" if isinstance(given, nn.Module) else f"{type(given).__name__!r}"
    forgotten = "Is a return statement missing? " if given is None else ""
    hint = f"{forgotten}Provide one of: {accepted}."
    raise TargetError(f"The target must provide a workload, not {kind}.", hint=hint)


def _checked(workload: Workload) -> Workload:
    if not isinstance(workload.model, nn.Module):
        raise TargetError(
            f"The model must be a torch.nn.Module, not {type(workload.model).__name__!r}.",
            hint="The order of a tuple is (model, train_loader[, loss_fn[, optimizer[, val_loader]]]).",
        )
    for name in ("train_loader", "val_loader"):
        loader = getattr(workload, name)
        if loader is not None and not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
            raise TargetError(
                f"The {name} must be iterable, not {type(loader).__name__!r}.",
                hint="Use a DataLoader, a list of batches, or any object with __iter__.",
            )
        check_is_loader(loader, name)
        check_workers_can_send(loader)
    for name in ("loss_fn", "step", "optimizer"):
        part = getattr(workload, name)
        if part is not None and not callable(part) and not isinstance(part, Optimizer):
            expected = "an Optimizer or a function" if name == "optimizer" else "a function"
            raise TargetError(f"The {name} must be {expected}, not {type(part).__name__!r}.")
    return workload


def optimizer_class(name: str) -> type[Optimizer]:
    """The torch.optim class with this name, regardless of case.

    Raises:
        UsageError: torch.optim has no such optimizer.
    """
    known = {
        key.lower(): kind
        for key, kind in vars(torch.optim).items()
        if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind is not Optimizer
    }
    if name.lower() not in known:
        raise UsageError(f"torch.optim has no optimizer {name!r}.", hint=did_you_mean(name.lower(), sorted(known)))
    return known[name.lower()]


def make_optimizer(workload: Workload, name: str | None, arguments: Mapping[str, Any]) -> tuple[Optimizer, str]:
    """The workload's optimizer, or else a new one; with a description of what it is and where it comes from.

    Raises:
        UsageError: `name` or `arguments` are given although the target has an optimizer, or the arguments are invalid.
        TargetError: the target's optimizer function does not return an optimizer.
        WorkloadError: the model has no parameter that requires grad.
    """
    given = workload.optimizer
    if given is not None:
        if name is not None or arguments:
            raise UsageError(
                "The target has its own optimizer, so --optimizer and --optimizer-arg cannot be used.",
                hint="Leave out these options, or remove the optimizer from the target.",
            )
        made = given if isinstance(given, Optimizer) else given(trainable(workload.model))
        if not isinstance(made, Optimizer):
            raise TargetError(f"The optimizer function must return an Optimizer, not {type(made).__name__!r}.")
        return made, f"{type(made).__name__} (the target's own)"
    kind = optimizer_class(name or DEFAULT_OPTIMIZER)
    try:
        made = kind(trainable(workload.model), **arguments)
    except (TypeError, ValueError) as error:
        # without arguments too: Muon, for example, only accepts matrices
        hint = (
            "Check --optimizer-arg (write a list as betas=[0.9,0.95])."
            if arguments
            else "Choose another --optimizer, or create one in the target."
        )
        raise UsageError(f"torch.optim.{kind.__name__} cannot be created: {error}", hint=hint) from error
    return made, f"{kind.__name__} ({'--optimizer' if name else 'default'})"


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that require grad.

    Raises:
        WorkloadError: there are none.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise WorkloadError("No parameter of the model requires grad.", hint="Unfreeze some with requires_grad_().")
    return parameters


CLIPPING = ("max_grad_norm", "gradient_clip_val", "grad_clip", "clip_grad", "clip_grad_norm", "grad_norm_clip")
HOLDERS = ("hparams", "args", "config", "_trainer")  # where modules and trainers keep such settings, too


def own_clipping(workload: Workload) -> tuple[str, float] | None:
    """The name and the value of a setting by which the user's own trainer or module clips gradients; None without one.

    A session does not run that trainer, so its clipping has no effect there.
    """
    owners = [getattr(workload.step, "__self__", None), workload.model]
    for owner in [*owners, *(vars(each).get(holder) for each in owners if each is not None for holder in HOLDERS)]:
        values = owner if isinstance(owner, Mapping) else getattr(owner, "__dict__", {})
        for name in CLIPPING:
            value = values.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
                return name, float(value)
    return None


def groups_of(optimizers: Iterable[Optimizer]) -> list[dict[str, Any]]:
    """The parameter groups of all optimizers, in order."""
    return [group for optimizer in optimizers for group in optimizer.param_groups]
