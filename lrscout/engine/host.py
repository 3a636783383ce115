"""What stands in for the trainer of a framework whose objects are a target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

if TYPE_CHECKING:
    from lrscout.engine.workload import Workload


class Host:
    """What a session tells, step by step, whatever stands in for a framework's trainer; by default, nothing."""

    framework: str | None = None  # by the name that a record has for it
    names_rate: bool = True  # whether the user tells the framework the learning rate, and not an optimizer
    settings: Mapping[str, Any] = {}  # for those of the session that are not given
    divides: bool = False  # whether the losses are already divided by the number of micro-batches
    training_steps: int | None = None  # optimizer steps that the framework's trainer would take
    warnings: tuple[str, ...] = ()

    def open(self, device: torch.device) -> AbstractContextManager[None]:
        """Entered while a session is open, with the model on its device."""
        return nullcontext()

    def gathered(self, batches: Iterable[Any], device: torch.device) -> Iterable[Any]:
        """The micro-batches of a step, which may be looked at before the first loss."""
        return batches

    def backward_ended(self) -> None:
        """The gradients of a micro-batch are there."""

    def update_begins(self, optimizers: Sequence[Optimizer]) -> None:
        """The optimizers are about to step."""

    def batch_ended(self) -> None:
        """All about a micro-batch is done, with the step that follows the last one."""

    def with_batch_size(self, workload: Workload, batch_size: int) -> Workload | None:
        """The workload with batches of another size; None if only its loaders can be rebuilt."""
        return None


NO_HOST = Host()
