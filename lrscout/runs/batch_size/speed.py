"""Which of the sizes that fit trains fastest: the noise of the gradients, then the sizes timed in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic

from lrscout.engine.trials.requests import TimedSteps
from lrscout.errors import LrscoutError, summary
from lrscout.formatting import format_seconds
from lrscout.results import GradientNoise, StepTiming
from lrscout.runs.batch_size.observer import BatchSizeObserver
from lrscout.runs.batch_size.trials import Trials
from lrscout.search.goodput import efficiency
from lrscout.search.noise import BATCH
from lrscout.search.throughput import rotate, samples_at, timings_of

NOISE_SHARE = 0.5  # of the time, for the noise of the gradients
LEAST_SECONDS = 10.0  # without --time-budget, if the trials took less
# where the noise scale cannot be measured; of the trainings of tests/benchmarks/batch_size, none has one far from it
ASSUMED_SCALE = 100.0
ASSUMED = f"so a noise scale of {ASSUMED_SCALE:.0f} samples is assumed"


@dataclass(frozen=True, slots=True)
class Speed:
    """What is known about the speed of training at the sizes that fit."""

    timings: tuple[StepTiming, ...] = ()
    noise: GradientNoise | None = None
    scale: float | None = None  # of the noise, measured or assumed
    problems: tuple[str, ...] = ()  # what could not be measured, and why


UNKNOWN = Speed()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure of these sizes, in so many seconds."""

    sizes: Sequence[int]
    seconds: float
    dataset: int | None
    statistics: bool  # whether to measure the noise
    evaluates: bool
    known: Mapping[int, TimedSteps]  # of the trials


def measured_speed(trials: Trials, plan: Plan, observer: BatchSizeObserver) -> Speed:
    """Measure the noise, then time the sizes; what cannot be measured costs only itself."""
    ends = monotonic() + plan.seconds
    noise, problems = None, []
    if plan.statistics:
        noise, problem = _noise(trials, plan, observer)
        problems += [problem] if problem is not None else []
    timer = _Timer(trials, plan, observer)
    scale = noise.scale if noise is not None else ASSUMED_SCALE if plan.statistics else None
    known = {size: timed.seconds for size, timed in plan.known.items()}
    times = rotate(timer, plan.sizes, timer.weigh(scale), ends - monotonic(), known)
    problems += [timer.problem] if timer.problem is not None else []
    timings = timings_of(times, timer.samples_of)
    told = tuple(replace(each, loader_share=timer.loader_shares.get(each.batch_size)) for each in timings)
    return Speed(told, noise, scale, tuple(problems))


def _noise(trials: Trials, plan: Plan, observer: BatchSizeObserver) -> tuple[GradientNoise | None, str | None]:
    """The noise, or why it could not be measured."""
    size = max((size for size in plan.sizes if size <= BATCH), default=min(plan.sizes))
    observer.measuring(f"the noise of the gradients at size {size}")
    try:
        noise = trials.noise(size, plan.dataset, NOISE_SHARE * plan.seconds)
    except Exception as error:
        return None, f"The noise of the gradients could not be measured, {ASSUMED}: {_told(error)}"
    if noise is None:
        return None, (
            f"{format_seconds(NOISE_SHARE * plan.seconds)} were too short to measure the noise of the gradients, or the"
            f" loss was not finite, {ASSUMED}. Raise --time-budget, or lower the learning rate of the optimizer."
        )
    return noise, None


def _told(error: Exception) -> str:
    return error.message if isinstance(error, LrscoutError) else summary(error)


class _Timer:
    """Times steps for a rotation, and keeps in mind how many samples a step has."""

    def __init__(self, trials: Trials, plan: Plan, observer: BatchSizeObserver) -> None:
        self._trials, self._evaluates, self._observer = trials, plan.evaluates, observer
        self._samples = {size: timed.samples for size, timed in plan.known.items()}
        self.loader_shares = {size: timed.loader_share for size, timed in plan.known.items()}
        self.problem: str | None = None  # the first size that could not be timed, and why

    @property
    def overhead(self) -> float:
        return self._trials.overhead

    def time(self, batch_size: int) -> Sequence[float]:
        self._observer.measuring(f"timing size {batch_size}")
        try:
            timed = self._trials.time(batch_size, self._evaluates)
        except Exception as error:  # of the user's too: the trials have found what fits, and that is not to be lost
            self.problem = self.problem or f"Size {batch_size} could not be timed in turn: {_told(error)}"
            return ()
        self._samples[batch_size] = timed.samples
        self.loader_shares[batch_size] = timed.loader_share
        return timed.seconds

    def samples_of(self, size: int) -> int:
        """The samples in a step of this size, by those of the sizes that were timed."""
        return samples_at(self._samples, size)

    def weigh(self, noise: float | None) -> Callable[[int], float]:
        """What a second of a size's steps costs: the lower, the more its samples are worth."""

        def weight(size: int) -> float:
            samples = self.samples_of(size)
            return 1 / (samples * efficiency(samples, noise))

        return weight
