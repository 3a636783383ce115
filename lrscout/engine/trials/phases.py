"""The memory of a training step: peaks by phase (forward and backward, then the optimizer step), and its parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer

from lrscout.attached.memory import Memory
from lrscout.attached.parts import Parts
from lrscout.attached.patches import Patches
from lrscout.engine.session import Session
from lrscout.errors import UsageError
from lrscout.results import Outcome, Trial


class Phases:
    """The highest peak of each phase so far, and the parts of the last step."""

    def __init__(self, memory: Memory, session: Session) -> None:
        self.forward: int | None = None
        self.optimizer: int | None = None
        self._memory, self._optimizers = memory, session.optimizers
        trained = (p for optimizer in session.optimizers for group in optimizer.param_groups for p in group["params"])
        self._weights = list(dict.fromkeys([*session.workload.model.parameters(), *trained]))
        self._parts, self._last_parts = Parts(), dict[str, Any]()
        memory.reset_peak()

    def noting_backward(self, original: Any) -> Any:
        def backward(*args: Any, **kwargs: Any) -> Any:
            self._parts.backward_begins(self._memory.held(), self._weights)
            return original(*args, **kwargs)

        return backward

    def forward_ended(self, *_: Any) -> None:
        self.forward = _higher(self.forward, self._memory.peak())
        self._memory.reset_peak()

    def step_ended(self) -> None:
        self._last_parts = self._parts.step_ended(self._memory.held(), self._weights, self._optimizers)
        self.optimizer = _higher(self.optimizer, self._memory.peak())
        self._memory.reset_peak()

    @property
    def peak(self) -> int | None:
        return _higher(self.forward, self.optimizer)

    def trial(self, batch_size: int, outcome: Outcome, steps: int, **more: Any) -> Trial:
        """A trial with these peaks; the caller replaces its `seconds`."""
        measured: dict[str, Any] = {"samples_per_second": None, "seconds": 0.0, **self._last_parts, **more}
        return Trial(
            batch_size,
            outcome,
            self.peak,
            steps=steps,
            forward_bytes=self.forward,
            optimizer_bytes=self.optimizer,
            **measured,
        )


@contextmanager
def measured_phases(session: Session, memory: Memory) -> Iterator[Phases]:
    """Measure the steps taken inside; hooks on the optimizers detect the end of forward and backward."""
    phases = Phases(memory, session)
    patches = Patches()
    patches.replace(torch.autograd, "backward", phases.noting_backward)
    hooks = []
    try:
        hooks = [_before_step(optimizer, phases.forward_ended) for optimizer in session.optimizers]
        yield phases
    finally:
        patches.undo()
        for hook in hooks:
            hook.remove()


def _before_step(optimizer: Optimizer, hook: Any) -> Any:
    try:
        return optimizer.register_step_pre_hook(hook)
    except AttributeError:
        raise UsageError(
            f"{type(optimizer).__name__} does not call Optimizer.__init__, so its steps cannot be measured.",
            hint="Call super().__init__(parameters, defaults) in its __init__, or use the optimizer that it wraps.",
        ) from None


def _higher(a: int | None, b: int | None) -> int | None:
    return max((value for value in (a, b) if value is not None), default=None)
