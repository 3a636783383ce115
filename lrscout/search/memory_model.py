"""How the peak of a training step follows the batch size: a line for each phase, and the higher of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lrscout.results import MemoryModel, Trial

PHASES: tuple[Callable[[Trial], int | None], ...] = (
    lambda trial: trial.forward_bytes,
    lambda trial: trial.optimizer_bytes,
)


def predicted_size(trials: Sequence[Trial], limit_bytes: int) -> float | None:
    """The size at which the peak reaches the limit, by a line a phase through the two largest sizes that ran.

    inf where no phase grows; None for fewer than two sizes, or where no peak is known. The real peak is the
    maximum of its phases, so it is convex: from small sizes alone this comes out too large.
    """
    lines = [line for phase in PHASES if (line := _secant(trials, phase)) is not None]
    if not lines:
        total = _secant(trials, lambda trial: trial.peak_bytes)
        lines = [total] if total is not None else []
    if not lines:
        return None
    return min((limit_bytes - base) / slope if slope > 0 else math.inf for base, slope in lines)


def fitted_model(trials: Sequence[Trial]) -> MemoryModel | None:
    """The line of the whole peak through the two largest sizes that ran, and how far the other sizes are off it."""
    line = _secant(trials, lambda trial: trial.peak_bytes)
    if line is None:
        return None
    base, slope = line
    errors = [abs(base + slope * size - peak) / peak for size, peak in _points(trials, lambda t: t.peak_bytes) if peak]
    return MemoryModel(round(base), round(slope), max(errors, default=0.0))


def _points(trials: Sequence[Trial], bytes_of: Callable[[Trial], int | None]) -> list[tuple[int, int]]:
    """Size and bytes of the trials that ran, in order of size."""
    known = {t.batch_size: held for t in trials if t.outcome == "fits" and (held := bytes_of(t)) is not None}
    return sorted(known.items())


def _secant(trials: Sequence[Trial], bytes_of: Callable[[Trial], int | None]) -> tuple[float, float] | None:
    points = _points(trials, bytes_of)[-2:]
    if len(points) < 2:
        return None
    (x0, y0), (x1, y1) = points
    slope = (y1 - y0) / (x1 - x0)
    return y1 - slope * x1, slope
