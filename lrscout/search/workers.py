"""The number of worker processes with which a loader feeds the training step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lrscout.errors import LrscoutError
from lrscout.results import LoaderTiming, Loading

ROUNDS = 2  # other work on the machine comes and goes: everything is timed in turn, and the faster of its times counts
NEAR_BEST = 0.05  # slower than the fastest by at most this share is as good
FED = 0.1  # so much longer than without the loader at most: the batches are there when they are needed


class StepTimer(Protocol):
    """Times a training step at one batch size."""

    def with_workers(self, workers: int | None) -> LoaderTiming:
        """Time it with so many workers; None: with the loader as it is.

        Raises:
            LrscoutError: what made that impossible.
        """

    def without_loader(self) -> float:
        """The seconds of a step whose batches were loaded before.

        Raises:
            LrscoutError: what made that impossible.
        """


def worker_counts(cores: int) -> list[int]:
    """The numbers of workers to try: 0, 1, 2, 4, up to the cores."""
    return [0, *(1 << power for power in range(cores.bit_length()))]


def examine_loading(timer: StepTimer, cores: int | None = None) -> Loading:
    """Time a step with and without its loader and, if there are `cores`, with every number of workers up to them.

    What cannot be timed, and Ctrl-C, end it with what has been timed until then.
    """
    times = _Times(timer, [] if cores is None else worker_counts(cores))
    problem, interrupted = None, False
    try:
        for _ in range(ROUNDS):
            times.take_round()
        problem = times.problem
    except LrscoutError as error:
        problem = error.message
    except KeyboardInterrupt:
        problem, interrupted = "The timing was interrupted.", True
    timings = times.by_workers() if cores is not None else ()
    chosen = None if interrupted else fewest_workers(timings)  # more might have been faster
    judged = chosen or times.own
    return Loading(
        own=times.own,
        seconds_without=times.without,
        timings=timings,
        workers=None if chosen is None else chosen.workers,
        fed=None if judged is None or times.without is None else is_fed(judged, times.without),
        problem=problem,
        interrupted=interrupted,
    )


def fewest_workers(timings: Sequence[LoaderTiming]) -> LoaderTiming | None:
    """The fewest workers whose step is within 5% of the fastest; None if there is nothing to compare."""
    if len(timings) < 2:
        return None
    enough = (1 + NEAR_BEST) * min(timing.seconds_per_step for timing in timings)
    return min((t for t in timings if t.seconds_per_step <= enough), key=lambda t: t.workers or 0)


def is_fed(timing: LoaderTiming, seconds_without: float) -> bool:
    """Whether a step takes hardly longer than without its loader."""
    return timing.seconds_per_step <= (1 + FED) * seconds_without


class _Times:
    """The fastest times so far."""

    def __init__(self, timer: StepTimer, counts: Sequence[int]) -> None:
        self._timer, self._counts = timer, counts
        self._fastest: dict[int | None, LoaderTiming] = {}
        self._own: int | None = None
        self.without: float | None = None
        self.problem: str | None = None  # why more workers were not tried

    @property
    def own(self) -> LoaderTiming | None:
        return self._fastest.get(self._own)

    def by_workers(self) -> tuple[LoaderTiming, ...]:
        known = {workers: timing for workers, timing in self._fastest.items() if workers is not None}
        return tuple(known[workers] for workers in sorted(known))

    def take_round(self) -> None:
        """Time everything once; the first round ends with the number that feeds the step, or that cannot be timed."""
        self._own = self._note(self._timer.with_workers(None))
        seconds = self._timer.without_loader()
        self.without = seconds if self.without is None else min(self.without, seconds)
        for place, count in enumerate(self._counts):
            if count != self._own:
                try:
                    self._note(self._timer.with_workers(count))
                except LrscoutError as error:
                    self._counts, self.problem = self._counts[:place], error.message
                    return
            if is_fed(self._fastest[count], self.without):  # more could only take its cores and memory
                self._counts = self._counts[: place + 1]
                return

    def _note(self, timing: LoaderTiming) -> int | None:
        before = self._fastest.get(timing.workers, timing)
        self._fastest[timing.workers] = min(before, timing, key=lambda t: t.seconds_per_step)
        return timing.workers
