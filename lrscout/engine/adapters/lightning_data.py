"""The loaders of a LightningModule, joined as Lightning joins them, and which hooks run and which do not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from lrscout.engine.adapters.lightning_trainer import part

CORE = ("pytorch_lightning.core.", "lightning.pytorch.core.")  # where the base classes are
NOT_RUN = ("optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping", "backward")  # nor if it is manual
LENGTHS: Mapping[str, Callable[[Sequence[int]], int]] = {  # by the mode of a CombinedLoader
    "min_size": min,
    "max_size": max,
    "max_size_cycle": max,
    "sequential": sum,
}


def overrides(owner: Any, name: str) -> bool:
    """Whether the user's class or object defines a method, instead of the one that Lightning's own base has."""
    kind = type(owner)
    base = next(each for each in kind.__mro__ if each.__module__.startswith(CORE))
    return name in vars(owner) or getattr(kind, name, None) is not getattr(base, name, None)


def left_out_of(module: Any) -> tuple[str, ...]:
    """What the user's class defines and nobody calls, as sentences; those of a manual step, Lightning calls neither."""
    kind = type(module).__name__
    hooks = NOT_RUN if module.automatic_optimization else ()
    told = [f"{kind}.{name} is not run: lrscout does that itself." for name in hooks if overrides(module, name)]
    if overrides(module, "configure_callbacks"):
        told.append(f"The callbacks of {kind}.configure_callbacks are left out.")
    return tuple(told)


def transfer_hooks(module: Any, datamodule: Any, device: torch.device) -> Sequence[Callable[[Any], Any]]:
    """What a batch passes before a step, in order: of the datamodule where it has its own, else of the module."""
    found = []
    for name in ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"):
        owner = next((each for each in (datamodule, module) if each is not None and overrides(each, name)), None)
        if owner is not None:
            more = (device, 0) if name == "transfer_batch_to_device" else (0,)  # with the number of the loader
            found.append(partial(_call, getattr(owner, name), more))
    return found


def _call(hook: Callable[..., Any], more: Sequence[Any], batch: Any) -> Any:
    return hook(batch, *more)


def several(loaders: Any) -> bool:
    """Whether a collection is one of loaders, and not a list of batches."""
    parts = loaders.values() if isinstance(loaders, dict) else loaders
    return any(hasattr(each, "dataset") for each in parts)


def joined(module: Any, loader: Any) -> Any:
    """One loader of what Lightning takes for several, and any other as it is."""
    combined = part(module, "utilities.combined_loader").CombinedLoader
    if isinstance(loader, (list, tuple, dict)) and several(loader):
        loader = combined(loader, "max_size_cycle")  # as a Trainer does
    return JoinedLoaders(loader) if isinstance(loader, combined) else loader


class JoinedLoaders:
    """The batches of a CombinedLoader, without the numbers that it adds for a Trainer."""

    def __init__(self, combined: Any) -> None:
        self._combined = combined
        self.iterables = combined.iterables  # as the module finds them at its trainer
        self.flattened: Sequence[Any] = combined.flattened

    def __iter__(self) -> Iterator[Any]:
        for batch, *_ in copy.copy(self._combined):  # which holds the place of one pass
            yield batch

    def __len__(self) -> int:
        return LENGTHS[self._combined._mode]([len(loader) for loader in self.flattened])

    @property
    def batch_size(self) -> int | None:
        """That of all the loaders, if it is one."""
        sizes = {getattr(loader, "batch_size", None) for loader in self.flattened}
        return sizes.pop() if len(sizes) == 1 else None
