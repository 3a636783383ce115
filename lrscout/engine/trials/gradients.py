"""A session that can add up the gradients of its steps."""

from __future__ import annotations

from typing import Any

from lrscout.attached.gradients import GradientSum
from lrscout.engine.session import Session


class GradientSession:
    """Steps an open session; it is what the noise of the gradients is measured with (lrscout.search.noise)."""

    def __init__(self, session: Session, samples: int) -> None:
        self.samples = samples  # in a step
        self._session = session
        self._sum = GradientSum()
        self._hook: Any = None

    @property
    def own_lr(self) -> float:
        """The largest learning rate that the optimizer is configured with."""
        return self._session.own_lr

    def step(self, lr: float | None = None) -> None:
        """Take one optimizer step at rate `lr`."""
        self._session.step(lr)

    def losses(self, wait: bool = False) -> list[float]:
        """The losses that arrived since the last call; with `wait`, all."""
        return self._session.losses(wait)

    def begin_gradients(self) -> None:
        """Add up the gradients of the steps from now on."""
        self._sum = GradientSum()
        self._hook = self._session.optimizers[0].register_step_pre_hook(self._sum.note)

    def end_gradients(self) -> tuple[int, float, float]:
        """How many were added up, the sum of their squared norms, and the squared norm of their sum."""
        self.close()
        return self._sum.totals()

    def close(self) -> None:
        """Leave the optimizer alone, which may be a live object."""
        if self._hook is not None:
            self._hook.remove()
