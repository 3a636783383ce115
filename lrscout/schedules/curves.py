"""Every schedule as a pure function of `(step, total)` that returns the multiplier of the peak rate.

`step` counts from 0 to `total - 1`. The rate is never 0 at the first step, and a schedule that ends at 0 would get
there at step `total`, so the last step still trains. The values match those of torch.optim.lr_scheduler for every
schedule that it has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from lrscout.schedules.parameters import Count, Cycles, Divisor, Factor, Growth, Length, Positive, Ratio, steps_of

Curve = Callable[..., float]
ROUNDING = 1e-9  # of a cycle; rounding may delay its end by this much


def constant(step: int, total: int) -> float:
    """The peak rate throughout."""
    return 1.0


def linear(step: int, total: int, *, min_ratio: Ratio = 0.0) -> float:
    """A straight line down to min_ratio."""
    return _down_to(min_ratio, 1 - step / total)


def cosine(step: int, total: int, *, min_ratio: Ratio = 0.0) -> float:
    """Half a cosine wave down to min_ratio.

    Source: Loshchilov and Hutter (2017), https://arxiv.org/abs/1608.03983.
    """
    return _down_to(min_ratio, _half_cosine(step / total))


def polynomial(step: int, total: int, *, power: Positive = 2.0, min_ratio: Ratio = 0.0) -> float:
    """A power of the remaining share of the run, down to min_ratio."""
    return _down_to(min_ratio, math.pow(1 - step / total, power))


def step_decay(step: int, total: int, *, size: Length = 0.3, gamma: Factor = 0.1) -> float:
    """Multiplied by gamma after every interval of `size`."""
    return math.pow(gamma, step // max(steps_of(size, total), 1))


def multistep(step: int, total: int, *, milestones: tuple[Length, ...] = (0.5, 0.75), gamma: Factor = 0.1) -> float:
    """Multiplied by gamma at each milestone."""
    return math.pow(gamma, sum(step >= max(steps_of(milestone, total), 1) for milestone in milestones))


def exponential(step: int, total: int, *, end_ratio: Factor = 0.01) -> float:
    """Multiplied by the same factor at every step, down to end_ratio."""
    return math.pow(end_ratio, step / total)


def cosine_restarts(
    step: int,
    total: int,
    *,
    cycles: Cycles = 3,
    t_mult: Growth = 2.0,
    restart_decay: Factor = 1.0,
    min_ratio: Ratio = 0.0,
) -> float:
    """Cosine cycles, each t_mult times as long as the previous one, with a peak restart_decay times as high.

    Source: SGDR, Loshchilov and Hutter (2017), https://arxiv.org/abs/1608.03983.
    """
    length = total / sum(t_mult**n for n in range(cycles))
    start, cycle = 0.0, 0
    while cycle < cycles - 1 and step >= start + length * (1 - ROUNDING):
        start, length, cycle = start + length, length * t_mult, cycle + 1
    share = min(max((step - start) / length, 0.0), 1.0)
    peak = max(restart_decay**cycle, min_ratio)
    return min_ratio + (peak - min_ratio) * _half_cosine(share)


def one_cycle(
    step: int,
    total: int,
    *,
    pct_start: Ratio = 0.3,
    anneal: Literal["cos", "linear"] = "cos",
    div: Divisor = 25.0,
    final_div: Divisor = 1e4,
    three_phase: bool = False,
) -> float:
    """Up from peak / div to the peak, then down to peak / (div * final_div).

    Source: Smith and Topin (2018), https://arxiv.org/abs/1708.07120.
    """
    corners = [1 / div, 1.0, *([1 / div] if three_phase else []), 1 / (div * final_div)]
    return _through(corners, step, total, pct_start, anneal)


def one_cycle_momentum(
    step: int,
    total: int,
    *,
    pct_start: float,
    anneal: str,
    three_phase: bool,
    cycle_momentum: bool = True,
    low_momentum: Ratio = 0.85,
    high_momentum: Ratio = 0.95,
) -> float | None:
    """The momentum, which falls while the rate rises; None if it does not change."""
    if not cycle_momentum:
        return None
    corners = [high_momentum, low_momentum, *([high_momentum] if three_phase else []), high_momentum]
    return _through(corners, step, total, pct_start, anneal)


def _through(corners: Sequence[float], step: int, total: int, pct_start: float, anneal: str) -> float:
    """The value at a step on a path through the corners. The first leg takes pct_start, as does the second of three."""
    ends = [0.0, *(n * (pct_start * total - 1) for n in range(1, len(corners) - 1)), total - 1.0]
    leg = next((n for n in range(len(corners) - 2) if step <= ends[n + 1]), len(corners) - 2)
    length = ends[leg + 1] - ends[leg]
    share = min(max((step - ends[leg]) / length, 0.0), 1.0) if length > 0 else 1.0
    left = _half_cosine(share) if anneal == "cos" else 1 - share
    return corners[leg + 1] + (corners[leg] - corners[leg + 1]) * left


def cyclic(
    step: int,
    total: int,
    *,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    cycles: Cycles = 4,
    up: Factor = 0.5,
    base_ratio: Factor = 0.1,
    end_ratio: Factor = 0.1,
) -> float:
    """Up from base_ratio and down again; triangular2 halves the height each cycle, exp_range shrinks it to end_ratio.

    Source: Smith (2017), https://arxiv.org/abs/1506.01186.
    """
    return base_ratio + (1 - base_ratio) * _triangle(step, total, mode, cycles, up, end_ratio)


def cyclic_momentum(
    step: int,
    total: int,
    *,
    mode: str,
    cycles: int,
    up: float,
    end_ratio: float,
    cycle_momentum: bool = True,
    low_momentum: Ratio = 0.8,
    high_momentum: Ratio = 0.9,
) -> float | None:
    """The momentum, which falls while the rate rises; None if it does not change."""
    if not cycle_momentum:
        return None
    return high_momentum - (high_momentum - low_momentum) * _triangle(step, total, mode, cycles, up, end_ratio)


def _triangle(step: int, total: int, mode: str, cycles: int, up: float, end_ratio: float) -> float:
    """The height above the base, 0 to 1."""
    cycle, place = divmod(step * cycles / total, 1.0)
    height = place / up if place <= up else (1 - place) / (1 - up)
    if mode == "triangular2":
        return float(height * 0.5**cycle)
    return float(height * end_ratio ** (step / total)) if mode == "exp_range" else height


def wsd(
    step: int,
    total: int,
    *,
    decay: Length = 0.2,
    shape: Literal["1-sqrt", "linear"] = "1-sqrt",
    min_ratio: Ratio = 0.0,
) -> float:
    """Warmup-stable-decay: the peak rate, then down to min_ratio over the last `decay` of the run.

    Source: Hägele et al. (2024), https://arxiv.org/abs/2405.18392.
    """
    length = min(steps_of(decay, total), total)
    if step < total - length or length == 0:
        return 1.0
    share = (step - (total - length)) / length
    return _down_to(min_ratio, 1 - (math.sqrt(share) if shape == "1-sqrt" else share))


def inverse_sqrt(step: int, total: int, *, warmup: Length = 0.05) -> float:
    """Noam: a linear warmup, then down with the inverse square root of the step.

    Source: Vaswani et al. (2017), https://arxiv.org/abs/1706.03762.
    """
    rise = steps_of(warmup, total) + 1
    return min((step + 1) / rise, math.sqrt(rise / (step + 1)))


def rex(step: int, total: int, *, min_ratio: Ratio = 0.0) -> float:
    """Reflected exponential: slowly down at first, then steeply to min_ratio.

    Source: Chen, Wolfe and Kyrillidis (2021), https://arxiv.org/abs/2107.04197.
    """
    left = 1 - step / total
    return _down_to(min_ratio, left / (0.5 + 0.5 * left))


def plateau(
    step: int,
    total: int,
    metrics: Sequence[float] = (),
    *,
    factor: Factor = 0.1,
    patience: Count = 3,
    threshold: Ratio = 1e-4,
    cooldown: Count = 0,
    min_ratio: Ratio = 0.0,
) -> float:
    """Multiplied by factor whenever more than `patience` evaluations in a row show no improvement.

    `metrics` are the evaluations so far, where smaller is better. One counts as an improvement if it is below the best
    by more than a share of `threshold`. After each reduction, the next `cooldown` evaluations do not count.
    """
    ratio, best, bad, resting = 1.0, math.inf, 0, 0
    for metric in metrics:
        better = metric < (best if best == math.inf else best - threshold * abs(best))
        best, bad = (metric, 0) if better else (best, bad + 1)
        if resting:
            resting, bad = resting - 1, 0
        if bad > patience:
            ratio, bad, resting = max(ratio * factor, min_ratio), 0, cooldown
    return ratio


def _half_cosine(share: float) -> float:
    """From 1 to 0 along half a cosine wave."""
    return 0.5 + 0.5 * math.cos(math.pi * share)


def _down_to(floor: float, height: float) -> float:
    return floor + (1 - floor) * height


SCHEDULES: dict[str, Curve] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "polynomial": polynomial,
    "step": step_decay,
    "multistep": multistep,
    "exponential": exponential,
    "cosine-restarts": cosine_restarts,
    "one-cycle": one_cycle,
    "cyclic": cyclic,
    "wsd": wsd,
    "inverse-sqrt": inverse_sqrt,
    "rex": rex,
    "plateau": plateau,
}

MOMENTA: dict[str, Callable[..., float | None]] = {"one-cycle": one_cycle_momentum, "cyclic": cyclic_momentum}
"""The momentum that goes with a schedule, as a function that also takes the parameters of the schedule."""
