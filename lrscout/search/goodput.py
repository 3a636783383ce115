"""How much a batch size advances training: its speed, times what each of its samples is worth.

McCandlish et al. (2018), https://arxiv.org/abs/1812.06162: to the same loss, training takes steps in proportion to
1 + N / B and samples in proportion to 1 + B / N, with B samples in a step and a noise scale of N. Throughput times
statistical efficiency is called goodput in Pollux (Qiao et al. 2021, https://arxiv.org/abs/2008.12260).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lrscout.results import StepTiming

AS_GOOD = 0.05  # a goodput closer than that to the best is as good
OVERLAPPING = 0.15  # the same if the spreads of the timings overlap
MORE_SAMPLES = 0.1  # that --objective samples accepts, compared with the smallest size


def efficiency(samples: float, noise: float | None) -> float:
    """What a sample is worth in a batch of so many, relative to one on its own; 1 if the noise scale is unknown."""
    return 1.0 if noise is None else 1 / (1 + samples / noise)


def goodput(timing: StepTiming, noise: float | None) -> float:
    """Samples per second, counted by what they are worth."""
    return timing.samples_per_second * efficiency(timing.samples, noise)


def relative_time(timing: StepTiming, timings: Sequence[StepTiming], noise: float | None) -> float:
    """How much longer training to the same loss takes than with the best of the sizes: 1 for that one."""
    return max(goodput(each, noise) for each in timings) / goodput(timing, noise)


def least_time(timings: Sequence[StepTiming], noise: float | None) -> StepTiming:
    """The size with the highest goodput; of those as good as that, the smallest."""
    best = max(timings, key=lambda timing: goodput(timing, noise))
    tied = [timing for timing in timings if _is_tie(timing, best, noise)]
    return min(tied, key=lambda timing: timing.samples)


def _is_tie(timing: StepTiming, best: StepTiming, noise: float | None) -> bool:
    share = goodput(timing, noise) / goodput(best, noise)
    if share >= 1 - AS_GOOD:
        return True
    # at its quickest, this size would be as good as the other one at its slowest
    return share >= 1 - OVERLAPPING and share * (timing.seconds / timing.low) * (best.high / best.seconds) >= 1


def fewest_samples(timings: Sequence[StepTiming], noise: float | None) -> StepTiming:
    """The largest size that needs at most a tenth more samples than the smallest, or that one if nothing is known."""
    smallest = min(timings, key=lambda timing: timing.samples)
    least = efficiency(smallest.samples, noise) / (1 + MORE_SAMPLES)
    good = [timing for timing in timings if noise is not None and efficiency(timing.samples, noise) >= least]
    return max(good, key=lambda timing: timing.samples, default=smallest)


OBJECTIVES: dict[str, Callable[[Sequence[StepTiming], float | None], StepTiming]] = {
    "time": least_time,
    "samples": fewest_samples,
}
"""What a batch size is chosen for: the choice among timed sizes, by the noise scale if it is known."""

MEMORY = "memory"  # the objective that needs no timings: the largest size that fits
