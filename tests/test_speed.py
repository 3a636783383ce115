"""What measuring the speed of sizes costs, and what is left of it where something fails."""

from __future__ import annotations

from lrscout.engine.trials.requests import TimedSteps
from lrscout.errors import WorkloadError
from lrscout.results import GradientNoise, NoiseMoment
from lrscout.runs.batch_size.observer import BatchSizeObserver
from lrscout.runs.batch_size.speed import ASSUMED_SCALE, Plan, measured_speed

NOISE = GradientNoise(8, (NoiseMoment(20, 1.0, 50.0, 1024),), 50.0, is_bound=False)


class FakeTrials:
    """Trials in which a step takes a millisecond a sample, and some sizes fail."""

    def __init__(self, failing=(), overhead=0.0, noise=NOISE):
        self.failing, self.overhead, self.given_noise = failing, overhead, noise
        self.turns = []

    def time(self, batch_size, evaluates=False):
        self.turns.append(batch_size)
        if batch_size in self.failing:
            raise self.failing[batch_size]
        return TimedSteps((0.001 * batch_size,) * 12, batch_size)

    def noise(self, batch_size, dataset, seconds):
        if isinstance(self.given_noise, Exception):
            raise self.given_noise
        return self.given_noise


def speed_of(trials, seconds=10.0, known=None, sizes=(8, 16, 32)):
    return measured_speed(trials, Plan(sizes, seconds, None, True, False, known or {}), BatchSizeObserver())


def sizes_of(speed):
    return [timing.batch_size for timing in speed.timings]


def test_a_size_that_fails_costs_only_its_own_timing():
    failing = {16: WorkloadError("The command ended after 12 optimizer steps."), 32: ZeroDivisionError("by zero")}
    speed = speed_of(FakeTrials(failing), known={16: TimedSteps((0.016,) * 2, 16)})
    assert sizes_of(speed) == [8, 16]  # that of the trial stays
    assert speed.noise == NOISE
    (problem,) = speed.problems  # the first is enough
    assert problem in (
        "Size 16 could not be timed in turn: The command ended after 12 optimizer steps.",
        "Size 32 could not be timed in turn: ZeroDivisionError: by zero",
    )


def test_noise_that_cannot_be_measured_costs_no_timings():
    speed = speed_of(FakeTrials(noise=WorkloadError("The labels are broken.")))
    assert sizes_of(speed) == [8, 16, 32]
    assert (speed.noise, speed.scale) == (None, ASSUMED_SCALE)
    assert "The labels are broken." in speed.problems[0]
    assert "too short" in speed_of(FakeTrials(noise=None)).problems[0]


def test_a_start_that_takes_longer_than_the_time_is_not_begun():
    trials = FakeTrials(overhead=20.0)
    assert sizes_of(speed_of(trials, 10.0, {8: TimedSteps((0.008,) * 2, 8)})) == [8]
    assert trials.turns == []
