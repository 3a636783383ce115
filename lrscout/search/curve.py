"""What a sweep's curve tells: where the loss is lowest, where it diverges, how far it fell, and how noisy it is."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from functools import cached_property
from statistics import fmean, median

from lrscout.results import SweepPoint, SweepResult
from lrscout.search.statistics import binned, local_regression, noise_level, robust_noise_level

MIN_POINTS = 5  # finite losses below which nothing is suggested
LARGEST_LOSS = 1e150  # beyond it sums of losses overflow; such a loss counts as not finite
INITIAL_SHARE = 0.1  # of the points: their mean is the loss before anything was learned

# The fall is told from noise on a smoother curve than the one whose lowest rate is read.
FALL_HALF_WIDTH = 1.0  # of the window, in decades
SPAN_SHARE = 0.25  # of the swept decades: the most that the window may take of a narrow sweep
LOWEST_HALF_WIDTH = 0.3  # decades; 0.2 to 0.5 differ by less than the seeds do
LOWEST_SPAN_SHARE = 0.1
MAX_BINS = 128  # a longer sweep is averaged into so many bins before the local regression, which costs their square
REGRESSION_VARIANCE = 1.4  # of the local regression, times its window's points over the noise's variance (tricube)
END = 0.25  # decades from the last rate within which a lowest loss counts as lying at the end
END_SHARE = 0.1  # of the swept decades: the most that the end may take of a narrow sweep

# Pure noise (normal, exponential, Student's t) passes for a fall in 0 to 4 % of sweeps of 50 steps and more, in 3 to
# 7 % of 20; of 80 sweeps of the 8 tasks, only three of diabetes_mlp_sgd with 30 steps do not pass.
FALL_FACTOR = 3.0  # a fall of less than three of its standard errors may be noise
RELATIVE_FLOOR = 1e-6  # of the initial loss: a smaller fall is rounding
HIDING_NOISE = 0.25  # of the initial loss: where the noise is less, a fall that is not seen is none

# Mean regret of scout on 14 tasks, constant | decay: 0.010 | 0.015 at 0.15, 0.014 | 0.016 (worst 0.22) at 0.5.
DIVERGED_SHARE = 0.25  # of the fall: the loss has diverged where it stays that far above its lowest
DIVERGED_NOISE = 2.0  # deviations of the noise, where those are more


class Curve:
    """The finite part of a sweep with rising rates, and what the rules and the verdict read off it.

    Measuring it takes milliseconds, so make one per sweep and hand it on. If there are `too_few` points, nothing else
    is measured.
    """

    def __init__(self, sweep: SweepResult) -> None:
        self.sweep = sweep
        self.rates: list[float] = []
        self.logs: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self._broke = False  # whether the last loss is not finite
        for point in sweep.points:
            self._broke = not (abs(point.loss) <= LARGEST_LOSS and abs(point.smoothed_loss) <= LARGEST_LOSS)
            if not self._broke:
                self._add(point)
        self.too_few = len(self.rates) < MIN_POINTS
        if not self.too_few:
            self._measure()

    def _add(self, point: SweepPoint) -> None:
        log = math.log10(point.lr)
        if self.logs and log <= self.logs[-1]:
            return  # slopes divide by the difference, which rounds to zero in a very narrow sweep
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
        self._cut = [min(loss, ceiling) for loss in self.losses]  # so that a divergence does not swamp the curve
        self.rate_of_lowest, self.lowest = self._find_lowest(min(LOWEST_HALF_WIDTH, LOWEST_SPAN_SHARE * self.span))
        self._measure_fall(count)

    def _find_lowest(self, half_width: float) -> tuple[float, float]:
        """The rate of lowest loss on a smooth curve, and that loss."""
        logs, losses = binned(self.logs, self._cut, MAX_BINS)
        curve = local_regression(logs, losses, half_width)
        at = curve.index(min(curve))
        exact = len(logs) == len(self.logs)
        return self.rates[at] if exact else 10.0 ** logs[at], curve[at]

    def _measure_fall(self, count: int) -> None:
        """How far the loss falls, and how sure that is, on a curve smooth enough to tell it from noise."""
        logs = self.logs
        self._half_width = min(FALL_HALF_WIDTH, SPAN_SHARE * self.span)
        rate, lowest = self._find_lowest(self._half_width)
        at = bisect.bisect_left(logs, math.log10(rate) - 1e-9, hi=len(logs) - 1)
        self.lowest_at_start = at < count / 2  # a loss that only rises lies above its lowest from the start
        self.lowest_at_end = logs[-1] - math.log10(rate) < min(END, END_SHARE * self.span)
        self.fall = fmean(self._cut[:count]) - lowest
        left, right = math.log10(rate) - self._half_width, math.log10(rate) + self._half_width
        window = bisect.bisect_right(logs, right) - bisect.bisect_left(logs, left)
        self.noise = noise_level(self._cut[: max(2 * MIN_POINTS, at + 1)])
        self.error = self.noise * math.sqrt(1 / count + REGRESSION_VARIANCE / max(1, window))

    @property
    def rounding(self) -> float:
        """A fall that may be no more than rounding."""
        return RELATIVE_FLOOR * abs(self.initial)

    @property
    def falls(self) -> bool:
        """Whether the loss falls, for certain."""
        return not self.lowest_at_start and self.fall > max(FALL_FACTOR * self.error, self.rounding)

    @property
    def is_hidden(self) -> bool:
        """Whether a fall may be hidden in the noise."""
        return self.noise >= HIDING_NOISE * abs(self.initial)

    @cached_property
    def rate_of_divergence(self) -> float | None:
        """The last rate before the loss stays well above its lowest; None where it never does.

        Losses are the medians of three, so that one bad batch is no divergence and one good one no recovery; the
        noise is that of the first half, where the rate does little.
        """
        losses = self.losses
        medians = [median(losses[max(0, i - 1) : i + 2]) for i in range(len(losses))]
        initial, lowest = fmean(losses[:MIN_POINTS]), min(medians)
        noise = robust_noise_level(losses[: max(2 * MIN_POINTS, len(losses) // 2)])
        height = lowest + max(DIVERGED_SHARE * (initial - lowest), DIVERGED_NOISE * noise)
        last = max(i for i, loss in enumerate(medians) if loss <= height)
        return self.rates[last] if self._broke or last < len(losses) - 1 else None

    @property
    def loss_left(self) -> float | None:
        """The share of the initial loss that is left at its lowest, 0 to 1; None where losses are not positive."""
        if self.initial <= 0 or self.lowest <= 0:
            return None
        return min(1.0, self.lowest / self.initial)

    def steps_per_decade(self, rate: float) -> float:
        """How many steps the sweep took in the decade below this rate."""
        log = math.log10(rate)
        low = max(self.logs[0], log - 1)
        count = bisect.bisect_right(self.logs, log + 1e-9) - bisect.bisect_left(self.logs, low - 1e-9)
        return max(1, count - 1) / (log - low) if log > low else 1 / (self.logs[1] - self.logs[0])

    @cached_property
    def slopes(self) -> Sequence[float]:
        """Change of the smoothed loss per decade of rate, between the points half a window away on either side."""
        reach = self._half_width / 2 + 1e-9  # a point on the edge counts, however its logarithm was rounded
        spans = [
            (bisect.bisect_left(self.logs, log - reach), bisect.bisect_right(self.logs, log + reach) - 1)
            for log in self.logs
        ]
        spans = [(a, b) if a < b else (max(0, i - 1), min(i + 1, len(self.logs) - 1)) for i, (a, b) in enumerate(spans)]
        return [(self.smoothed[b] - self.smoothed[a]) / (self.logs[b] - self.logs[a]) for a, b in spans]
