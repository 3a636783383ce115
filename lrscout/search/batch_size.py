"""The search for the largest batch size that fits and for the fastest, based on trials that actually ran."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lrscout.results import BatchStopReason, Outcome, Split, Throughput, Trial
from lrscout.search.memory_model import predicted_size

PLATEAU = 0.05  # a smaller rise in throughput does not count, and neither does a smaller distance from the best
STALLED_DOUBLINGS = 2  # after so many doublings without a rise, larger sizes are assumed to be no faster
FIRST_SIZES = (4, 16)  # for the first line of `fit`: small enough to be quick, far enough apart for a slope
TYPICAL_FIT = 6  # trials of the fit mode
LONGEST_JUMP = 64  # times the largest size that ran, because a slope of pure noise can predict anything
LARGEST_SIZE = 1 << 20  # if nothing else limits the search
ENDS: dict[Outcome, BatchStopReason] = {
    "too_few_samples": "dataset",
    "too_few_steps": "too_few_steps",
    "capped": "capped",
    "refused": "refused",
}
"""Why a search ended where the smallest size that does not fit had this outcome, if not for memory."""
FIRST_RETREAT = 0.1  # of the way back to the largest fitting size; doubles with every failed prediction


class TrialRunner(Protocol):
    """Runs the trials of a search."""

    def try_size(self, batch_size: int) -> Trial:
        """Run training steps with this batch size, or find out why that is impossible."""


@dataclass(slots=True)
class Search:
    """The state of a search: the trials so far, and the limits on the answer."""

    smallest: int = 1
    ceiling: int = LARGEST_SIZE  # --max, or the length of the dataset
    limit_bytes: int | None = None
    resolution: float = 0.0  # how precisely to find the largest size, as a share of it; 0: exactly
    trials: list[Trial] = field(default_factory=list)

    @property
    def largest(self) -> int:
        """The largest size that fits; one below the smallest if none does."""
        return max((t.batch_size for t in self.trials if t.outcome == "fits"), default=self.smallest - 1)

    @property
    def over(self) -> int | None:
        """The smallest size that does not fit."""
        return min((_least_over(t) for t in self.trials if t.outcome != "fits"), default=None)

    @property
    def tolerance(self) -> int:
        """How many samples the answer may be off by."""
        return self.tolerance_at(self.largest)

    def tolerance_at(self, size: float) -> int:
        """The same if `size` were the answer."""
        return max(1, int(self.resolution * min(size, LARGEST_SIZE)))

    @property
    def settled(self) -> bool:
        """Whether the largest fitting size is known to within the tolerance."""
        if self.over is None:
            return self.largest >= self.ceiling
        return self.over - self.largest <= self.tolerance


def _least_over(trial: Trial) -> int:
    """The smallest size that cannot fit, for what happened in a trial: all that a program caps become its cap."""
    return trial.batch_size if trial.cap is None else min(trial.batch_size, trial.cap + 1)


def power(search: Search) -> Iterator[int]:
    """Double until a size does not fit."""
    size = min(search.smallest, search.ceiling)
    yield size
    while search.over is None and size < search.ceiling:
        size = min(2 * size, search.ceiling)
        yield size


def binsearch(search: Search) -> Iterator[int]:
    """Double until a size does not fit, then bisect."""
    yield from power(search)
    yield from _bisect(search)


def fit(search: Search) -> Iterator[int]:
    """Predict the largest size from the peaks of two small ones, try it, and refine the prediction."""
    for size in FIRST_SIZES:
        if search.over is None:
            yield min(max(size, search.smallest * size // FIRST_SIZES[0]), search.ceiling)
        if search.settled:
            return
    if search.limit_bytes is None or all(t.peak_bytes is None for t in search.trials):
        while search.over is None and not search.settled:
            yield min(2 * search.largest, search.ceiling)
        yield from _bisect(search)
        return
    if search.largest < search.smallest:  # not even the first size fits
        yield from _bisect(search)
        return
    streak = 0  # consecutive wrong predictions
    while not search.settled:
        size, expected = _next_by_line(search, streak)
        yield size
        surprised = (search.trials[-1].outcome == "fits") != expected
        streak = streak + 1 if surprised else 0


MODES: dict[str, Callable[[Search], Iterator[int]]] = {"fit": fit, "binsearch": binsearch, "power": power}
"""How sizes are chosen: each mode yields the next size to try, and finds the outcome in the search."""


def expected_trials(mode: str, search: Search) -> int | None:
    """About how many trials a search will make, or None where only they can tell."""
    doublings = math.ceil(math.log2(search.ceiling / search.smallest)) + 1
    if mode == "fit":
        return min(TYPICAL_FIT, doublings)
    return doublings if search.ceiling < LARGEST_SIZE else None


def _bisect(search: Search) -> Iterator[int]:
    while search.over is not None and not search.settled:
        yield (search.largest + search.over) // 2


def _next_by_line(search: Search, streak: int) -> tuple[int, bool]:
    """The next size according to the line through the peaks, and whether it should fit."""
    low, over, step = search.largest, search.over, search.tolerance
    assert search.limit_bytes is not None
    predicted = predicted_size(search.trials, search.limit_bytes)
    capped = over is not None and _end_of(search, "max") == "capped"
    if predicted is None and over is not None:
        return over - 1 if capped else (low + over) // 2, True
    predicted = min(math.inf if predicted is None else predicted, LARGEST_SIZE)
    aim, promising = _just_below(predicted, search), predicted >= low + step
    if over is None:
        if promising:
            size = min(aim, LONGEST_JUMP * low, search.ceiling)
            # the line through the first sizes is only rough, so try a power of two, which is useful in any case
            rough = len(search.trials) == len(FIRST_SIZES) and power_of_two_below(size) > low
            return (power_of_two_below(size) if rough else size), True
        return min(low + step * 2**streak, search.ceiling), False  # confirm that this is the limit
    if aim >= over and capped:
        return over - 1, True
    if aim >= over and _end_of(search, "max") != "out_of_memory":  # a line through peaks says nothing about that
        return min(over - 1, max(low + 1, math.isqrt(low * over))), True
    if aim >= over:  # the prediction was too high
        back = max(1, int((over - low) * min(0.5, FIRST_RETREAT * 2**streak)))
        return max(low + 1, over - back), True
    if promising:
        return min(aim, over - 1), True
    return min(low + step * 2**streak, (low + over) // 2), False


def _just_below(predicted: float, search: Search) -> int:
    """A size that should fit, so close to the predicted limit that exceeding it by the tolerance should not."""
    return min(math.floor(predicted), math.ceil(predicted - (search.tolerance_at(predicted) - 1) / 2))


@dataclass(frozen=True, slots=True)
class SearchEnd:
    """The trials of a search, and why it ended."""

    trials: tuple[Trial, ...]
    stop_reason: BatchStopReason
    seconds: float


def run_search(
    runner: TrialRunner,
    mode: str,
    search: Search,
    *,
    stops_at_plateau: bool = False,
    friendly_of: Callable[[int], int] | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    ceiling_reason: BatchStopReason = "max",
) -> SearchEnd:
    """Try the sizes that the mode yields until it is done; Ctrl-C ends the search and keeps the trials.

    Finally tries `friendly_of` the largest fitting size as well, so that it can be recommended.
    """
    started = time.perf_counter()
    reason: BatchStopReason | None = None
    try:
        for size in MODES[mode](search):
            trial = _tried(runner, size, search, on_trial)
            reason = _early_end(trial, search, stops_at_plateau)
            if reason is not None:
                break
        goes_on = reason not in ("failed", "unstable", "timeout")
        reason = reason or _end_of(search, ceiling_reason)
        if friendly_of is not None and goes_on:
            friendly = friendly_of(search.largest)
            if friendly >= search.smallest and all(t.batch_size != friendly for t in search.trials):
                reason = _early_end(_tried(runner, friendly, search, on_trial), search, False) or reason
    except KeyboardInterrupt:
        reason = "interrupted"
    return SearchEnd(tuple(search.trials), reason, time.perf_counter() - started)


def _tried(runner: TrialRunner, size: int, search: Search, on_trial: Callable[[Trial], None] | None) -> Trial:
    trial = runner.try_size(size)
    search.trials.append(trial)
    if on_trial is not None:
        on_trial(trial)
    return trial


def _early_end(trial: Trial, search: Search, stops_at_plateau: bool) -> BatchStopReason | None:
    if trial.outcome == "failed":
        return "failed"
    if trial.outcome == "timeout":  # larger sizes would take even longer
        return "timeout"
    if trial.growth_bytes is not None:
        return "unstable"
    return "throughput" if stops_at_plateau and reached_plateau(search.trials) else None


def _end_of(search: Search, ceiling_reason: BatchStopReason) -> BatchStopReason:
    if search.over is None:
        return ceiling_reason
    failed = next(t for t in search.trials if t.outcome != "fits" and _least_over(t) == search.over)
    return ENDS.get(failed.outcome, "out_of_memory")


def reached_plateau(trials: Sequence[Trial]) -> bool:
    """Whether the last doublings did not raise the throughput above that of smaller sizes."""
    rates = [rate for _, rate in _rates(trials)]
    before, last = rates[:-STALLED_DOUBLINGS], rates[-STALLED_DOUBLINGS:]
    return bool(before) and max(last) < (1 + PLATEAU) * max(before)


def fastest(trials: Sequence[Trial]) -> Throughput | None:
    """The smallest size within 5% of the best throughput."""
    rates = _rates(trials)
    best = max((rate for _, rate in rates), default=0.0)
    return next((Throughput(size, rate) for size, rate in rates if rate >= (1 - PLATEAU) * best), None)


def _rates(trials: Sequence[Trial]) -> list[tuple[int, float]]:
    """The size and throughput of the trials that fit, in order of size."""
    known = {t.batch_size: t.samples_per_second for t in trials if t.outcome == "fits"}
    return [(size, rate) for size, rate in sorted(known.items()) if rate is not None]


def power_of_two_below(size: int) -> int:
    """The largest power of two up to this size; 0 for a size below 1."""
    return 1 << (size.bit_length() - 1) if size > 0 else 0


def multiple_below(size: int, step: int) -> int:
    """The largest multiple of `step` up to this size."""
    return size // step * step


def splits(effective: int, largest: int, processes: Sequence[int] = (1, 2, 4, 8)) -> tuple[Split, ...]:
    """The splits of an effective batch size into the largest possible micro-batches, one per number of processes."""
    found = []
    for count in processes:
        if effective % count == 0:
            share = effective // count
            size = next(size for size in range(min(largest, share), 0, -1) if share % size == 0)
            found.append(Split(size, share // size, count))
    return tuple(found)
