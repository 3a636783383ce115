"""The peak memory of a training step by phase: forward and backward, then the optimizer step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lrscout.attached.memory import Memory
from lrscout.engine.session import Session
from lrscout.results import Outcome, Trial


class Phases:
    """The highest peak of each phase so far."""

    def __init__(self, memory: Memory) -> None:
        self.forward: int | None = None
        self.optimizer: int | None = None
        self._memory = memory
        memory.reset_peak()

    def forward_ended(self, *_: Any) -> None:
        self.forward = _higher(self.forward, self._memory.peak())
        self._memory.reset_peak()

    def step_ended(self) -> None:
        self.optimizer = _higher(self.optimizer, self._memory.peak())
        self._memory.reset_peak()

    @property
    def peak(self) -> int | None:
        return _higher(self.forward, self.optimizer)

    def trial(self, batch_size: int, outcome: Outcome, steps: int, **more: Any) -> Trial:
        """A trial with these peaks; the caller replaces its `seconds`."""
        measured: dict[str, Any] = {"samples_per_second": None, "seconds": 0.0, **more}
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
    phases = Phases(memory)
    hooks = [optimizer.register_step_pre_hook(phases.forward_ended) for optimizer in session.optimizers]
    try:
        yield phases
    finally:
        for hook in hooks:
            hook.remove()


def _higher(a: int | None, b: int | None) -> int | None:
    return max((value for value in (a, b) if value is not None), default=None)
