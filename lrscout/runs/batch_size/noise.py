"""Measuring the noise of the gradients on a bench, in whatever process it lives."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from lrscout.processes.messages import Limits, Report, Request
from lrscout.results import GradientNoise
from lrscout.search.noise import measured_moments, summarized

if TYPE_CHECKING:
    from lrscout.engine.trials.bench import Bench


@dataclass(frozen=True)
class MeasureNoise(Request["Bench", GradientNoise | None]):
    """Train for a while at the target's own rate, and measure the noise of its gradients."""

    batch_size: int
    dataset: int | None  # samples in it
    seconds: float  # with those that it takes to build the target
    limits: Limits

    def perform(self, host: Bench, report: Report) -> GradientNoise | None:
        began = perf_counter()
        with host.gradient_session(self.batch_size) as session:
            left = self.seconds - (perf_counter() - began)
            moments = tuple(measured_moments(session, session.own_lr, session.samples, left))
        return summarized(self.batch_size, moments, self.dataset)
