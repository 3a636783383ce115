"""What stands in for the trainer of a framework whose objects are a target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrscout.errors import WorkloadError

if TYPE_CHECKING:
    from lrscout.engine.workload import Workload


class Host:
    """What a session tells, step by step, whatever stands in for a framework's trainer; by default, nothing."""

    framework: str | None = None  # by the name that a record has for it
    arguments: str | None = None  # the class of those that the user gives it, by its name
    names_rate: bool = True  # whether the user tells the framework the learning rate, and not an optimizer
    settings: Mapping[str, Any] = {}  # for those of the session that are not given
    divides: bool = False  # whether the losses are already divided by the number of micro-batches
    held_out_data: str = "val_loader"  # as the user calls it
    warnings: tuple[str, ...] = ()

    def open(self, workload: Workload, device: torch.device, accumulate: int = 1) -> AbstractContextManager[None]:
        """Entered while a session of the workload is open, with the model on its device."""
        return nullcontext()

    def gathered(self, batches: Iterable[Any], device: torch.device) -> Iterable[Any]:
        """The micro-batches of a step, which may be looked at before the first loss."""
        return batches

    def backward_ended(self) -> None:
        """The gradients of a micro-batch are there."""

    def clipped(self, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """Those of the optimizers' parameters whose gradients are clipped."""
        return parameters

    def update_begins(self, optimizers: Sequence[Optimizer]) -> None:
        """The optimizers are about to step."""

    def update_ended(self) -> None:
        """The optimizers have stepped."""

    def batch_ended(self) -> None:
        """All about a micro-batch is done, with the step that follows the last one."""

    def training_steps(self, batches: int | None) -> int | None:
        """The optimizer steps that the framework's trainer would take, with so many batches in an epoch, if known."""
        return None

    def no_val_loss(self, compute: Callable[[], Any]) -> WorkloadError | None:
        """Why held-out data has no loss, if it has none; `compute` returns that of the first batch."""
        return None

    def with_batch_size(self, workload: Workload, batch_size: int) -> Workload | None:
        """The workload with batches of another size; None if only its loaders can be rebuilt."""
        return None


NO_HOST = Host()
