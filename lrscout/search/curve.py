"""The curve of a sweep: where the loss is lowest, where it diverges, how far it fell, and how noisy it is."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from functools import cached_property
from statistics import fmean, median

from lrscout.results import SweepPoint, SweepResult
from lrscout.search.statistics import binned, local_regression, noise_level, robust_noise_level

MIN_POINTS = 5  # with fewer finite losses, nothing is suggested
LARGEST_LOSS = 1e150  # treat larger losses as non-finite, since their sums overflow
INITIAL_SHARE = 0.1  # of the points; their mean is the loss before anything was learned

# Telling a fall from noise takes a smoother curve than finding the rate of lowest loss.
FALL_HALF_WIDTH = 1.0  # half the width of the window, in decades
FALL_SPAN_SHARE = 0.25  # the same for a narrow sweep, as a share of the swept decades
LOWEST_HALF_WIDTH = 0.3  # decades; between 0.2 and 0.5, the choice matters less than the seed
LOWEST_SPAN_SHARE = 0.1
MAX_BINS = 128  # average longer sweeps into this many bins, because local regression takes quadratic time
REGRESSION_VARIANCE = 1.4  # variance of a tricube local regression, times points per window, over that of the noise
END_WIDTH = 0.25  # decades; a lowest loss this close to the last rate is at the end of the sweep
END_SPAN_SHARE = 0.1  # the same for a narrow sweep, as a share of the swept decades

# Pure noise (normal, exponential, Student's t) is mistaken for a fall in 0 to 4% of sweeps of 50 steps or more, and in
# 3 to 7% of sweeps of 20 steps. Of 80 real sweeps on 8 tasks, only three fail the test: diabetes_mlp_sgd at 30 steps.
FALL_FACTOR = 3.0  # a fall of less than three standard errors may be noise
RELATIVE_FLOOR = 1e-6  # of the initial loss; a smaller fall may be rounding
HIDING_NOISE = 0.25  # of the initial loss; less noise than this cannot hide a fall

# Scout's mean regret on 14 tasks, constant | decay: 0.010 | 0.015 at 0.15, 0.014 | 0.016 (worst 0.22) at 0.5.
DIVERGED_SHARE = 0.25  # of the fall; a loss that stays this far above its lowest has diverged
DIVERGED_NOISE = 2.0  # standard deviations of the noise, which apply if they exceed that share


class Curve:
    """The finite losses of a sweep at rising rates, and the measurements that the rules and the verdict share.

    Building one takes milliseconds, so build it once per sweep and pass it on. If there are `too_few` points, no other
    measurement is available.
    """

    def __init__(self, sweep: SweepResult) -> None:
        self.sweep = sweep
        self.rates: list[float] = []
        self.logs: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self._ends_non_finite = False  # whether the last loss is non-finite
        for point in sweep.points:
            self._ends_non_finite = not (abs(point.loss) <= LARGEST_LOSS and abs(point.smoothed_loss) <= LARGEST_LOSS)
            if not self._ends_non_finite:
                self._add(point)
        self.too_few = len(self.rates) < MIN_POINTS
        if not self.too_few:
            self._measure()

    def _add(self, point: SweepPoint) -> None:
        log = math.log10(point.lr)
        if self.logs and log <= self.logs[-1]:
            return  # slopes divide by this difference, which rounds to zero in a very narrow sweep
        self.rates.append(point.lr)
        self.logs.append(log)
        self.losses.append(point.loss)
        self.smoothed.append(point.smoothed_loss)

    def _measure(self) -> None:
        logs, count = self.logs, max(MIN_POINTS, round(INITIAL_SHARE * len(self.losses)))
        self.initial = fmean(self.losses[:count])
        self.lowest_smoothed = self.smoothed.index(min(self.smoothed))
        self.span = logs[-1] - logs[0]
        ceiling = self.initial + abs(self.initial - min(self.losses))
        self._capped = [min(loss, ceiling) for loss in self.losses]  # so that a divergence does not swamp the curve
        self.rate_of_lowest, self.lowest = self._find_lowest(min(LOWEST_HALF_WIDTH, LOWEST_SPAN_SHARE * self.span))
        self._measure_fall(count)

    def _find_lowest(self, half_width: float) -> tuple[float, float]:
        """The rate of the lowest smoothed loss, and that loss."""
        logs, losses = binned(self.logs, self._capped, MAX_BINS)
        curve = local_regression(logs, losses, half_width)
        at = curve.index(min(curve))
        exact = len(logs) == len(self.logs)
        return self.rates[at] if exact else 10.0 ** logs[at], curve[at]

    def _measure_fall(self, count: int) -> None:
        """Measure how far the loss falls, and with what standard error."""
        logs = self.logs
        self._half_width = min(FALL_HALF_WIDTH, FALL_SPAN_SHARE * self.span)
        rate, lowest = self._find_lowest(self._half_width)
        at = bisect.bisect_left(logs, math.log10(rate) - 1e-9, hi=len(logs) - 1)
        self.lowest_at_start = at < count / 2  # true of a loss that only rises
        self.lowest_at_end = logs[-1] - math.log10(rate) < min(END_WIDTH, END_SPAN_SHARE * self.span)
        self.fall = fmean(self._capped[:count]) - lowest
        left, right = math.log10(rate) - self._half_width, math.log10(rate) + self._half_width
        window = bisect.bisect_right(logs, right) - bisect.bisect_left(logs, left)
        self.noise = noise_level(self._capped[: max(2 * MIN_POINTS, at + 1)])
        self.error = self.noise * math.sqrt(1 / count + REGRESSION_VARIANCE / max(1, window))

    @property
    def rounding(self) -> float:
        """The largest fall that may be mere rounding."""
        return RELATIVE_FLOOR * abs(self.initial)

    @property
    def falls(self) -> bool:
        """Whether the loss falls by more than noise and rounding can explain."""
        return not self.lowest_at_start and self.fall > max(FALL_FACTOR * self.error, self.rounding)

    @property
    def is_hidden(self) -> bool:
        """Whether there is enough noise to hide a fall."""
        return self.noise >= HIDING_NOISE * abs(self.initial)

    @cached_property
    def rate_of_divergence(self) -> float | None:
        """The last rate before the loss stays well above its lowest; None if it never does.

        Medians of three losses keep one bad batch from counting as a divergence, and one good batch as a recovery.
        The noise is measured on the first half of the sweep, where the rate has little effect.
        """
        losses = self.losses
        medians = [median(losses[max(0, i - 1) : i + 2]) for i in range(len(losses))]
        initial, lowest = fmean(losses[:MIN_POINTS]), min(medians)
        noise = robust_noise_level(losses[: max(2 * MIN_POINTS, len(losses) // 2)])
        height = lowest + max(DIVERGED_SHARE * (initial - lowest), DIVERGED_NOISE * noise)
        last = max(i for i, loss in enumerate(medians) if loss <= height)
        return self.rates[last] if self._ends_non_finite or last < len(losses) - 1 else None

    @property
    def loss_left(self) -> float | None:
        """The lowest loss as a share of the initial one, 0 to 1; None if either is not positive."""
        if self.initial <= 0 or self.lowest <= 0:
            return None
        return min(1.0, self.lowest / self.initial)

    def steps_per_decade(self, rate: float) -> float:
        """How many steps per decade the sweep took just below this rate."""
        log = math.log10(rate)
        low = max(self.logs[0], log - 1)
        count = bisect.bisect_right(self.logs, log + 1e-9) - bisect.bisect_left(self.logs, low - 1e-9)
        return max(1, count - 1) / (log - low) if log > low else 1 / (self.logs[1] - self.logs[0])

    @cached_property
    def slopes(self) -> Sequence[float]:
        """The change of the smoothed loss per decade at each point, measured over a window centered on it."""
        reach = self._half_width / 2 + 1e-9  # include points on the edge, however their logarithms were rounded
        spans = [
            (bisect.bisect_left(self.logs, log - reach), bisect.bisect_right(self.logs, log + reach) - 1)
            for log in self.logs
        ]
        spans = [(a, b) if a < b else (max(0, i - 1), min(i + 1, len(self.logs) - 1)) for i, (a, b) in enumerate(spans)]
        return [(self.smoothed[b] - self.smoothed[a]) / (self.logs[b] - self.logs[a]) for a, b in spans]
