"""What a sweep's curve tells: where the loss is lowest, how far it fell, and how noisy it is.

The measurements beside the constants are explained in `lrscout.search.suggestion`.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean

from lrscout.results import Suggestion, SweepPoint
from lrscout.search.statistics import binned, local_regression, noise_level

MIN_POINTS = 5  # finite losses below which nothing is suggested
LARGEST_LOSS = 1e150  # beyond it sums of losses overflow; such a loss counts as not finite
INITIAL_SHARE = 0.1  # of the points: their mean is the loss before anything was learned

# Mean and worst regret of the rate that makes 98 % of the fall, constant | cosine: 0.070 0.31 | 0.017 0.08 with 0.5
# decades, 0.059 0.35 | 0.020 0.31 with 0.7, 0.032 0.23 | 0.015 0.04 with 1.
HALF_WIDTH = 1.0  # of the window, in decades
SPAN_SHARE = 0.25  # of the swept decades: the most that the window may take of a narrow sweep
MAX_BINS = 160  # a longer sweep is averaged into so many bins before the local regression, which costs their square
REGRESSION_VARIANCE = 1.4  # of the local regression, times its window's points over the noise's variance (tricube)
END = 0.25  # decades from the last rate within which a lowest loss counts as lying at the end
END_SHARE = 0.1  # of the swept decades: the most that the end may take of a narrow sweep


@lru_cache(maxsize=1)  # all rules and the verdict read the same curve
def curve_of(points: tuple[SweepPoint, ...]) -> Curve:
    """What these points tell."""
    return Curve(points)


class Curve:
    """The finite part of a sweep with rising rates, and what the rules and the verdict read off it."""

    def __init__(self, points: Sequence[SweepPoint]) -> None:
        self.rates: list[float] = []
        self.logs: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        for point in points:
            if abs(point.loss) <= LARGEST_LOSS and abs(point.smoothed_loss) <= LARGEST_LOSS:
                self._add(point)
        self.too_few = len(self.rates) < MIN_POINTS
        if not self.too_few:
            self._find_lowest()

    def _add(self, point: SweepPoint) -> None:
        log = math.log10(point.lr)
        if self.logs and log <= self.logs[-1]:
            return  # slopes divide by the difference, which rounds to zero in a very narrow sweep
        self.rates.append(point.lr)
        self.logs.append(log)
        self.losses.append(point.loss)
        self.smoothed.append(point.smoothed_loss)

    def _find_lowest(self) -> None:
        logs, count = self.logs, max(MIN_POINTS, round(INITIAL_SHARE * len(self.losses)))
        self.initial = fmean(self.losses[:count])
        self.lowest_smoothed = self.smoothed.index(min(self.smoothed))
        span = logs[-1] - logs[0]
        self._half_width = min(HALF_WIDTH, SPAN_SHARE * span)
        ceiling = self.initial + abs(self.initial - min(self.losses))
        cut = [min(loss, ceiling) for loss in self.losses]
        bin_logs, bin_losses = binned(logs, cut, MAX_BINS)
        curve = local_regression(bin_logs, bin_losses, self._half_width)
        self.lowest = min(curve)
        log = bin_logs[curve.index(self.lowest)]
        at = bisect.bisect_left(logs, log, hi=len(logs) - 1)
        bin_rates = self.rates if len(bin_logs) == len(logs) else [10.0**x for x in bin_logs]
        self.rate_of_lowest = bin_rates[curve.index(self.lowest)]
        self._smooth: list[tuple[float, float]] = list(zip(bin_rates, curve))
        self.lowest_at_start = at < count / 2  # a loss that only rises lies above its lowest from the start
        self.lowest_at_end = logs[-1] - log < min(END, END_SHARE * span)
        self.fall = fmean(cut[:count]) - self.lowest
        window = bisect.bisect_right(logs, log + self._half_width) - bisect.bisect_left(logs, log - self._half_width)
        self.noise = noise_level(cut[: max(2 * MIN_POINTS, at + 1)])
        self.error = self.noise * math.sqrt(1 / count + REGRESSION_VARIANCE / max(1, window))

    def rate_at_fall(self, share: float) -> float:
        """The smallest rate at which the smooth curve has made this share of its fall from the initial loss."""
        height = self.lowest + (1 - share) * max(self.fall, 0.0)
        return next(rate for rate, loss in self._smooth if loss <= height)

    def slopes(self) -> list[float]:
        """Change of the smoothed loss per decade of rate, between the points half a window away on either side."""
        reach = self._half_width / 2 + 1e-9  # a point on the edge counts, however its logarithm was rounded
        spans = [
            (bisect.bisect_left(self.logs, log - reach), bisect.bisect_right(self.logs, log + reach) - 1)
            for log in self.logs
        ]
        spans = [(a, b) if a < b else (max(0, i - 1), min(i + 1, len(self.logs) - 1)) for i, (a, b) in enumerate(spans)]
        return [(self.smoothed[b] - self.smoothed[a]) / (self.logs[b] - self.logs[a]) for a, b in spans]

    def no_answer(self, rule: str) -> Suggestion:
        return Suggestion(None, rule, f"needs {MIN_POINTS} finite losses, and got {len(self.rates)}")
