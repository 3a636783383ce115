"""A session that can add up the gradients of its steps."""

from __future__ import annotations

from collections.abc import Callable

from lrscout.attached.gradients import GradientSum
from lrscout.engine.session import Session
from lrscout.errors import WorkloadError


def with_gradients(session: Session, note: Callable[..., None]) -> Callable[[], None]:
    """Call a function with each optimizer that is about to step; returns what ends that, more than once if need be."""
    # one that is given a closure has no gradients before its step
    hooks = [] if session.by_closure else [each.register_step_pre_hook(note) for each in session.driven]
    session.on_closure.append(note)

    def end() -> None:
        while hooks:
            hooks.pop().remove()
        session.on_closure.clear()

    return end


class GradientSession:
    """Steps an open session; it is what the noise of the gradients is measured with (lrscout.search.noise)."""

    def __init__(self, session: Session, samples: int) -> None:
        self.samples = samples  # in a step
        self._session = session
        self._sum = GradientSum()
        self._end: Callable[[], None] = lambda: None

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
        self._end = with_gradients(self._session, self._sum.note)

    def end_gradients(self) -> tuple[int, float, float]:
        """How many were added up, the sum of their squared norms, and the squared norm of their sum.

        Raises:
            WorkloadError: no step of an optimizer was seen.
        """
        self.close()
        found = self._sum.totals()
        if not found[0]:
            raise WorkloadError("The optimizer's step was not called in any step of the target.")
        return found

    def close(self) -> None:
        """Leave the optimizers alone, which may be live objects."""
        self._end()
