"""A session in a program of somebody else's: the program steps in its own loop, at the rates that it is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from statistics import fmean
from time import monotonic
from typing import Any

from lrscout.errors import LrscoutError
from lrscout.processes.ranks import OptimizerFacts, Rank, asked

LEAST_AHEAD, MOST_AHEAD = 2, 64  # steps that the program may know of before their losses are here
SECONDS_AHEAD = 0.05  # worth of steps; more would only be wasted when a sweep ends, as it does not know yet
LOOK_SECONDS = 0.01  # between two looks for losses that nobody waits for: each takes a core's time
MESSAGES_AHEAD = 4  # in which these steps are sent: each message costs the program time


class AttachedSession:
    """Drives optimizers on all ranks, each with the same commands, so that all stop at the same step.

    Each optimizer has its share of the rate that is set, by its number. The first one leads: its steps count.
    It is the session of a sweep (lrscout.search.range_test.SweepSession) and, with `set_lr`, that of a training
    (lrscout.search.training.TrainingSession). `listen` takes in what the ranks say, within so many seconds, or None to
    wait for something; it raises where a rank is lost. A `real` training is not ended where its optimizer is replaced,
    and keeps its own schedules of momentum and weight decay. A program of lrscout's `own` also answers questions.
    """

    def __init__(
        self,
        ranks: Sequence[Rank],
        shares: Mapping[int, float],
        listen: Callable[[float | None], None],
        real: bool = False,
        own: bool = False,
    ) -> None:
        self._ranks, self._listen, self._is_own = ranks, listen, own
        self._lr: float | None = None
        self._arrived: list[float] = []
        self._unsent: list[float | None] = []  # rates of steps that the program does not know of yet
        self._in_flight = 0
        self._measured = 0  # losses since the clock was started, which the first one does
        self._started = self._next_look = 0.0
        self._send(drive=list(shares.items()), real=real)

    def set_lr(self, lr: float | None) -> None:
        """Set the rate of the group with the largest rate; the others keep their ratios. None is the program's own."""
        self._lr = lr

    def step(self, lr: float | None = None) -> None:
        """Take one optimizer step at this rate, or at the rate that is set; its loss comes from `losses`."""
        if lr is not None:
            self._lr = lr
        ahead = self._ahead()
        while self._in_flight >= ahead:
            self._take_in(None)
        self._unsent.append(self._lr)
        self._in_flight += 1
        if len(self._unsent) * MESSAGES_AHEAD >= ahead:
            self._send_steps()

    def losses(self, wait: bool = False) -> list[float]:
        """The losses that arrived since the last call, in order, each the mean over the ranks; with `wait`, all."""
        if wait or monotonic() >= self._next_look:
            self._take_in(0)
            self._next_look = monotonic() + LOOK_SECONDS
        while wait and self._in_flight:
            self._take_in(None)
        return self.arrived()

    def arrived(self) -> list[float]:
        """The losses that are here since the last call; those of the last steps too once the command has ended."""
        arrived, self._arrived = self._arrived, []
        return arrived

    @cached_property
    def evaluates(self) -> bool:
        """Whether there is held-out data that has a loss: what somebody's program does cannot be told from outside."""
        return self._is_own and all(self._asked("evaluates", evaluates=1))

    def evaluate(self) -> float | None:
        """The loss of held-out data, each rank's share of which counts alike, once all steps are taken; or None."""
        return fmean(self._asked("evaluated", evaluate=1)) if self.evaluates else None

    def warnings(self) -> tuple[str, ...]:
        """What the program tells its user about the steps so far, once all are taken; nothing if it has ended."""
        with suppress(LrscoutError):  # steps ahead may have failed at a rate that is too high; whoever goes on is told
            return tuple(self._asked("warnings", warnings=1)[0]) if self._is_own else ()
        return ()

    def _asked(self, answer: str, **question: object) -> list[Any]:
        self._send_steps()
        return asked(self._ranks, self._listen, answer, **question)

    def begin_gradients(self) -> None:
        """Add up the gradients that the leading optimizer steps with from now on; right after `losses(wait=True)`."""
        self._send(gradients=True)

    def end_gradients(self) -> tuple[int, float, float]:
        """How many were added up, the sum of their squared norms, and the squared norm of their sum.

        Each rank adds its own to the norms, where all have the same gradients too: their ratio is what matters.
        """
        found = asked(self._ranks, self._listen, "gradients", gradients=False)
        return found[0][0], sum(each[1] for each in found), sum(each[2] for each in found)

    def restore(self) -> None:
        """Put the state of the first step back on every rank, and drop the losses that are still to come."""
        self._unsent.clear()
        asked(self._ranks, self._listen, "restored", restore=1)
        self._arrived.clear()
        self._in_flight = self._measured = 0

    def _send(self, **message: object) -> None:
        for rank in self._ranks:
            rank.send(**message)

    def _send_steps(self) -> None:
        if self._unsent:
            self._send(steps=self._unsent)
            self._unsent = []

    def _take_in(self, seconds: float | None) -> None:
        if seconds is None:
            self._send_steps()
        try:
            self._listen(seconds)
        finally:  # the last losses come with the end of the command, which raises
            self._count()

    def _count(self) -> None:
        """Take the losses of the steps that all ranks have told."""
        while all(rank.losses for rank in self._ranks):
            self._arrived.append(sum(rank.losses.popleft() for rank in self._ranks) / len(self._ranks))
            self._in_flight -= 1
            if not self._measured:
                self._started = monotonic()
            self._measured += 1

    def _ahead(self) -> int:
        """How many steps may be in flight: enough to keep quick ones going, few where each takes long."""
        if self._measured < 2:
            return LEAST_AHEAD
        steps_per_second = (self._measured - 1) / max(monotonic() - self._started, 1e-9)
        return max(LEAST_AHEAD, min(MOST_AHEAD, int(SECONDS_AHEAD * steps_per_second)))


def shares_of(optimizers: Sequence[OptimizerFacts], numbers: Sequence[int]) -> dict[int, float]:
    """The rates of the optimizers of these numbers relative to the largest of them, as the program made them."""
    largest = max(optimizers[number].own_lr for number in numbers)
    return {number: optimizers[number].own_lr / largest if largest > 0 else 1.0 for number in numbers}
