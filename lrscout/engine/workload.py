"""What a target may give, and what is made of it: a model, its data, its loss and its optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrscout.errors import TargetError, UsageError, WorkloadError, did_you_mean
from lrscout.settings import DEFAULT_OPTIMIZER

OptimizerLike = Optimizer | Callable[[Iterable[Tensor]], Optimizer]


@dataclass(frozen=True, slots=True)
class Workload:
    """Everything that a training step needs.

    With `loss_fn`, a batch is `(inputs, target)` and the loss `loss_fn(model(inputs), target)`; inputs may be a
    tuple (`model(*inputs)`) or a mapping (`model(**inputs)`). Without, the model gives its own loss: a scalar
    tensor, or something with `.loss` or `["loss"]`, from `model(**batch)`, `model(*batch)` or `model(batch)`.
    `step(batch)` or `step(model, batch)` gives any loss the user can compute; lrscout runs backward and the optimizer.
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
    """A dict with a Workload's keys."""
    if not isinstance(given, Mapping):
        return None
    for key in given:
        if key not in KEYS:
            raise TargetError(f"The target's dict has an unknown key {key!r}.", hint=did_you_mean(str(key), KEYS))
    missing = [key for key in REQUIRED if given.get(key) is None]
    if missing:
        raise TargetError(f"The target's dict lacks {' and '.join(missing)}.", hint=f"Its keys: {', '.join(KEYS)}.")
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
    """An object with a Workload's attributes, `model` and `train_loader` at least."""
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
"""What a target may give. The first that does not answer None wins."""


def make_workload(given: Any) -> Workload:
    """Adapt whatever a target gave.

    Raises:
        TargetError: no adapter knows it, or a part of it is of the wrong kind.
    """
    for adapt in ADAPTERS.values():
        workload = adapt(given)
        if workload is not None:
            return _checked(workload)
    shapes = "; ".join(str(adapt.__doc__).rstrip(".") for adapt in ADAPTERS.values())
    kind = "a model alone, without data" if isinstance(given, nn.Module) else f"{type(given).__name__!r}"
    forgotten = "Does the function end without return? " if given is None else ""
    raise TargetError(f"The target gave {kind}.", hint=f"{forgotten}It must give one of: {shapes}.")


def _checked(workload: Workload) -> Workload:
    if not isinstance(workload.model, nn.Module):
        raise TargetError(
            f"The model is {type(workload.model).__name__!r} and no torch.nn.Module.",
            hint="A tuple's order is (model, train_loader[, loss_fn[, optimizer[, val_loader]]]).",
        )
    for name in ("train_loader", "val_loader"):
        loader = getattr(workload, name)
        if loader is not None and not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
            raise TargetError(
                f"The {name} is {type(loader).__name__!r} and cannot be iterated.",
                hint="Give a DataLoader, a list of batches, or any object with __iter__.",
            )
    for name in ("loss_fn", "step", "optimizer"):
        part = getattr(workload, name)
        if part is not None and not callable(part) and not isinstance(part, Optimizer):
            raise TargetError(f"The {name} is {type(part).__name__!r} and cannot be called.")
    return workload


def optimizer_class(name: str) -> type[Optimizer]:
    """The torch.optim class with this lower-case name.

    Raises:
        UsageError: there is none.
    """
    known = {
        key.lower(): kind
        for key, kind in vars(torch.optim).items()
        if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind is not Optimizer
    }
    if name.lower() not in known:
        raise UsageError(f"torch.optim has no {name!r}.", hint=did_you_mean(name.lower(), tuple(sorted(known))))
    return known[name.lower()]


def make_optimizer(workload: Workload, name: str | None, arguments: Mapping[str, Any]) -> tuple[Optimizer, str]:
    """The workload's optimizer, and in words which one it is and why.

    Raises:
        UsageError: `name` or `arguments` given although the target has an optimizer, or arguments that do not fit.
    """
    given = workload.optimizer
    if given is not None:
        if name is not None or arguments:
            raise UsageError(
                "The target has an optimizer of its own, so --optimizer and --optimizer-arg cannot be used.",
                hint="Leave them out, or leave the optimizer out of the target.",
            )
        made = given if isinstance(given, Optimizer) else given(trainable(workload.model))
        if not isinstance(made, Optimizer):
            raise TargetError(f"The target's optimizer gave {type(made).__name__!r} and no torch.optim.Optimizer.")
        return made, f"{type(made).__name__} (the target's own)"
    kind = optimizer_class(name or DEFAULT_OPTIMIZER)
    try:
        made = kind(trainable(workload.model), **arguments)
    except (TypeError, ValueError) as error:
        # Muon, for one, takes matrices only
        hint = (
            "Check --optimizer-arg (a list is written betas=[0.9,0.95])."
            if arguments
            else "Choose another --optimizer, or make one in the target."
        )
        raise UsageError(f"torch.optim.{kind.__name__} cannot be made: {error}", hint=hint) from error
    return made, f"{kind.__name__} ({'--optimizer' if name else 'default'})"


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that want a gradient.

    Raises:
        WorkloadError: there is none.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise WorkloadError("The model has no parameter that wants a gradient.", hint="Unfreeze some of it.")
    return parameters


NO_LOSS_FN = (
    "The target has no loss_fn, so lrscout gave the whole batch to the model: model(*batch), or model(**batch) for a "
    "mapping. If the model does not compute its own loss, give the target a loss_fn, or a step(model, batch)."
)

LossOf = Callable[[Any], Tensor]


def loss_of(workload: Workload) -> LossOf:
    """The function `batch -> loss` of a workload; what it gives is not checked here."""
    model, loss_fn, step = workload.model, workload.loss_fn, workload.step
    if step is not None:
        return (lambda batch: step(model, batch)) if _takes_model(step) else step
    if loss_fn is not None:
        return lambda batch: loss_fn(*_predict(model, batch))
    return lambda batch: _own_loss(_forward(model, batch))


def _takes_model(step: Callable[..., Tensor]) -> bool:
    try:
        signature = inspect.signature(step)
    except (TypeError, ValueError):
        return False
    for arguments, takes_model in (((0,), False), ((0, 0), True)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return takes_model
    raise TargetError(f"step{signature} takes neither (batch) nor (model, batch).")


def _predict(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, Sequence) or isinstance(batch, str) or len(batch) != 2:
        parts = f" with {len(batch)} parts" if isinstance(batch, (Sequence, Mapping)) else ""
        raise WorkloadError(
            f"With loss_fn a batch must be (inputs, target), but the loader gave {type(batch).__name__!r}{parts}.",
            hint="Give step(model, batch) -> loss for batches of another form.",
        )
    inputs, target = batch
    return _call(model, inputs), target


def _call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Tensor):  # first, since it is the commonest and a test for Mapping is slow
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, (tuple, list)):
        return model(*inputs)
    return model(inputs)


def _forward(model: nn.Module, batch: Any) -> Any:
    try:
        return _call(model, batch)
    except TypeError as error:
        error.add_note(NO_LOSS_FN)  # a forgotten loss_fn is the commonest mistake, and torch's words do not tell it
        raise


def _own_loss(output: Any) -> Tensor:
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", output)
    if not isinstance(loss, Tensor):
        raise WorkloadError(
            f"The target has no loss_fn, and the model gave {type(output).__name__!r} without a loss.",
            hint='Without loss_fn the model must give a scalar tensor, or something with .loss or ["loss"].',
        )
    return loss
