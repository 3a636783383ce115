"""What the ranks of a training command took in the steps of a trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lrscout.engine.trials.judging import EXTRA_STEPS, memory_growth
from lrscout.processes.ranks import Measured
from lrscout.results import Outcome, Trial
from lrscout.search.observed import StepShapes

SKIPPED_STEPS = 20  # that a GradScaler may leave out while it looks for its scale


class Usage:
    """The highest peaks of any rank, and what each held after every step."""

    def __init__(self) -> None:
        self.forward: int | None = None
        self.optimizer: int | None = None
        self.problem: str | None = None  # why the steps do not count as fitting, though they ran
        self.steps = 0
        self.shapes: list[StepShapes] = []
        self._parts: Mapping[str, int | None] = {}  # of the memory of the rank that held most after the last step
        self._optimizer_steps = 0  # of the rank that took fewest
        self._held: list[list[int | None]] = []  # by rank

    def note(self, ranks: Sequence[Measured]) -> None:
        """Take in a step."""
        self.steps += 1
        self.forward = _highest([self.forward, *(rank.forward for rank in ranks)])
        self.optimizer = _highest([self.optimizer, *(rank.optimizer for rank in ranks)])
        self.problem = next((rank.problem for rank in ranks if rank.problem is not None), self.problem)
        self.shapes.append(tuple(rank.shapes for rank in ranks))
        self._parts = max(ranks, key=lambda rank: rank.held or 0).parts
        self._optimizer_steps = min(rank.steps for rank in ranks)
        self._held = self._held or [[] for _ in ranks]
        for held, rank in zip(self._held, ranks):
            held.append(rank.held)

    @property
    def peak(self) -> int | None:
        return _highest([self.forward, self.optimizer])

    @property
    def growth(self) -> int | None:
        """What each step adds to the memory of the rank that grows fastest; None if none grows."""
        return _highest(memory_growth(held) for held in self._held)

    def is_enough(self, trial_steps: int) -> bool:
        """Whether the memory of a step is known."""
        if min(self.steps, self._optimizer_steps) < trial_steps:
            return self.steps >= trial_steps + SKIPPED_STEPS
        return self.growth is None or self.steps >= trial_steps + EXTRA_STEPS

    def trial(self, batch_size: int, outcome: Outcome, **more: Any) -> Trial:
        """A trial with these peaks; the caller replaces its `seconds`."""
        measured: dict[str, Any] = {"samples_per_second": None, "seconds": 0.0, "steps": self.steps}
        measured |= {**self._parts, **more}
        return Trial(
            batch_size,
            outcome,
            self.peak,
            forward_bytes=self.forward,
            optimizer_bytes=self.optimizer,
            **measured,
        )


def _highest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
