"""The workload that a target provides: a model, its data, its loss and its optimizer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from lrscout.engine.batches import check_is_loader, check_workers_can_send
from lrscout.engine.host import NO_HOST, Host
from lrscout.errors import TargetError, did_you_mean

OptimizerLike = (
    Optimizer | Sequence[Optimizer] | Mapping[str, Optimizer] | Callable[[Iterable[Tensor]], Optimizer]
)  # the last from the parameters


@dataclass(frozen=True, slots=True)
class Workload:
    """Everything that a training step needs.

    With `loss_fn`, a batch is `(inputs, target)` and its loss is `loss_fn(model(inputs), target)`, where inputs may
    be a tuple (`model(*inputs)`) or a mapping (`model(**inputs)`). Without it, the model computes its own loss:
    `model(**batch)`, `model(*batch)` or `model(batch)` returns a scalar tensor, or an object with `.loss` or
    `["loss"]`. For anything else, `step(batch)` or `step(model, batch)` returns the loss; lrscout calls backward and
    steps the optimizer. With several optimizers in a mapping, it may return a mapping of losses with the same keys.
    If `manual`, it calls backward and steps the optimizers itself.
    """

    model: nn.Module
    train_loader: Iterable[Any]
    loss_fn: Callable[..., Tensor] | None = None
    optimizer: OptimizerLike | None = None
    val_loader: Iterable[Any] | None = None
    step: Callable[..., Any] | None = None
    val_step: Callable[..., Any] | None = None  # for a batch of held-out data, if its loss is another
    manual: bool = False  # whether `step` calls backward and steps the optimizers
    host: Host = NO_HOST  # in place of a framework's trainer


KEYS = tuple(f.name for f in fields(Workload) if f.name != "host")
REQUIRED = ("model", "train_loader")


def is_instance(given: Any, kind: str, *modules: str) -> bool:
    """Whether an object is of a class in one of the modules, none of which is imported for that."""
    kinds = (getattr(sys.modules.get(name), kind, None) for name in modules)
    return any(isinstance(known, type) and isinstance(given, known) for known in kinds)


def is_lightning(given: Any, kind: str = "LightningModule") -> bool:
    """Whether an object is a LightningModule, or of another class of Lightning."""
    return is_instance(given, kind, "lightning.pytorch", "pytorch_lightning")


def from_lightning(given: Any) -> Workload | None:
    """A LightningModule that has a training_step, alone or as the model, with its loaders or a LightningDataModule."""
    model = given.model if isinstance(given, Workload) else given
    if isinstance(given, tuple) and given:
        model = given[0]
    elif isinstance(given, Mapping):
        model = given.get("model")
    if is_instance(model, "OptimizedModule", "torch._dynamo.eval_frame"):
        model = model._orig_mod
    if not is_lightning(model):
        return None
    from lrscout.engine.adapters.lightning import adapted  # only here is Lightning known to be there

    return adapted(given)


def from_trainer(given: Any) -> Workload | None:
    """A transformers.Trainer."""
    if not is_instance(given, "Trainer", "transformers.trainer"):
        return None
    from lrscout.engine.adapters.transformers import adapted

    return adapted(given)


def from_workload(given: Any) -> Workload | None:
    """A Workload."""
    return given if isinstance(given, Workload) else None


def from_mapping(given: Any) -> Workload | None:
    """A dict with the fields of Workload as keys."""
    if not isinstance(given, Mapping):
        return None
    for key in given:
        if key not in (*KEYS, "host"):  # the fields of a Workload may be handed on
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
    return Workload(**{key: part for key, part in parts.items() if part is not None})


ADAPTERS: dict[str, Callable[[Any], Workload | None]] = {
    "lightning": from_lightning,
    "workload": from_workload,
    "mapping": from_mapping,
    "tuple": from_tuple,
    "trainer": from_trainer,
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
    for name in ("loss_fn", "step", "val_step", "optimizer"):
        part = getattr(workload, name)
        is_optimizer = name == "optimizer" and isinstance(part, (Optimizer, Mapping, list, tuple))
        if part is not None and not callable(part) and not is_optimizer:
            expected = "an Optimizer, several of them, or a function" if name == "optimizer" else "a function"
            raise TargetError(f"The {name} must be {expected}, not {type(part).__name__!r}.")
    if workload.manual and workload.step is None:
        raise TargetError(
            "The target is manual, but has no step.", hint="Let step(batch) train, or leave manual=True out."
        )
    return workload


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
