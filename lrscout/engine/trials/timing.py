"""Timing steps."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

MIN_TIMED_STEPS = 2
TIMED_STEPS, TIMED_SECONDS = 12, 0.4  # at most: sizes are timed in short turns, and again where their order is unclear


def time_steps(
    step: Callable[[], None], most_steps: int = TIMED_STEPS, most_seconds: float = TIMED_SECONDS
) -> list[float]:
    """Time at least two steps, and more until one of the limits is reached; return the seconds of each."""
    seconds: list[float] = []
    started = perf_counter()
    while len(seconds) < MIN_TIMED_STEPS or (len(seconds) < most_steps and perf_counter() - started < most_seconds):
        before = perf_counter()
        step()
        seconds.append(perf_counter() - before)
    return seconds
