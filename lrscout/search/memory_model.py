"""Peak memory as a function of the batch size: a line per phase of a training step, and the maximum of these."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lrscout.results import MemoryModel, Trial

PHASES: tuple[Callable[[Trial], int | None], ...] = (
    lambda trial: trial.forward_bytes,
    lambda trial: trial.optimizer_bytes,
)


def predicted_size(trials: Sequence[Trial], limit_bytes: int) -> float | None:
    """The size at which the peak reaches the limit, extrapolated from the two largest measured sizes for each phase.

    This includes sizes over the limit if their peak is known. Returns inf if no phase grows with the size, and None for
    fewer than two sizes. The actual peak is the maximum of its phases and therefore convex, so predictions from small
    sizes alone are too large.
    """
    lines = [line for phase in (*PHASES, _peak) if (line := _secant(trials, phase)) is not None]
    if not lines:
        return None
    return min((limit_bytes - base) / slope if slope > 0 else math.inf for base, slope in lines)


def fitted_model(trials: Sequence[Trial]) -> MemoryModel | None:
    """The line through the peaks of the two largest fitting sizes, and how far the other sizes are off it."""
    fitting = [t for t in trials if t.outcome == "fits"]
    line = _secant(fitting, _peak)
    if line is None or line[1] <= 0:  # the noise exceeds the memory per sample
        return None
    base, slope = line
    points = _points(fitting, _peak)
    miss = max(abs(base + slope * size - peak) for size, peak in points)
    return MemoryModel(round(base), round(slope), miss / max(1, max(peak for _, peak in points)))


def _peak(trial: Trial) -> int | None:
    return trial.peak_bytes


def _points(trials: Sequence[Trial], bytes_of: Callable[[Trial], int | None]) -> list[tuple[int, int]]:
    """The size and bytes of the measured trials, in order of size."""
    return sorted((t.batch_size, held) for t in trials if (held := bytes_of(t)) is not None)


def _secant(trials: Sequence[Trial], bytes_of: Callable[[Trial], int | None]) -> tuple[float, float] | None:
    points = _points(trials, bytes_of)[-2:]
    if len(points) < 2:
        return None
    (x0, y0), (x1, y1) = points
    slope = (y1 - y0) / (x1 - x0)
    return y1 - slope * x1, slope
