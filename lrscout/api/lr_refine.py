"""The trainings behind find-lr --refine."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean
from typing import TYPE_CHECKING

from lrscout.results import Probe, Refinement, TrainingPoint, TrainingResult, Use
from lrscout.schedules import parse_schedule
from lrscout.search.refinement import (
    HELD_OUT_PRICE,
    TRAINING_PRICE,
    measured_horizon,
    probe_rates,
    refined_rate,
)
from lrscout.search.scout import horizon_factor

if TYPE_CHECKING:
    from lrscout.engine.session import Session

SCHEDULES: dict[Use, str] = {"decay": "cosine:warmup=0.05", "constant": "constant"}
LAST_SHARE = 0.2  # of a probe: its mean training loss there stands for what it reached, where nothing is held out
FIRST_STEPS = 5  # whose mean training loss stands for the loss before training

OnPoint = Callable[[TrainingPoint], None]


def refine(session: Session, lr: float, use: Use, divergence: float, steps: int, on_point: OnPoint) -> Refinement:
    """Train `steps` steps at each of up to three rates around `lr`, a suggestion for trainings of HORIZON steps.

    All start from the same state, on the same batches, under the schedule that the rate is for.
    """
    horizon = measured_horizon(steps)
    center = lr * horizon_factor(horizon)
    rates = probe_rates(center, divergence)
    runs = [_train(session, rate, use, steps, on_point) for rate in rates]
    before = runs[0][0]
    held_out = before is not None
    first = [point.loss for point in runs[0][1].points[:FIRST_STEPS] if math.isfinite(point.loss)]
    initial = before if before is not None else fmean(first) if first else math.nan
    probes = tuple(_probe(rate, run, held_out) for rate, (_, run) in zip(rates, runs))
    price = HELD_OUT_PRICE[use] if held_out else TRAINING_PRICE
    after = refined_rate(center, probes, initial, price) if math.isfinite(initial) else center
    return Refinement(center, after, horizon, "held-out loss" if held_out else "training loss", initial, probes)


def _train(session: Session, lr: float, use: Use, steps: int, on_point: OnPoint) -> tuple[float | None, TrainingResult]:
    """The held-out loss before the training, and the training."""
    from lrscout.engine.schedulers import make_scheduler
    from lrscout.engine.training import Trainee
    from lrscout.search.training import run_training

    schedule = parse_schedule(SCHEDULES[use])
    with session.open():
        trainee = Trainee(session)
        before = trainee.evaluate()
        scheduler = make_scheduler(schedule, session.optimizers, lr, steps)
        return before, run_training(trainee, scheduler, steps, (steps - 1,), on_point=on_point)


def _probe(lr: float, run: TrainingResult, held_out: bool) -> Probe:
    steps = len(run.points)
    if run.status != "ok":
        return Probe(lr, run.status, None, steps)
    last = run.points[-max(1, round(LAST_SHARE * steps)) :]
    return Probe(lr, run.status, run.points[-1].val_loss if held_out else fmean(p.loss for p in last), steps)


def describe(refinement: Refinement) -> str:
    """What the probes reached, in one sentence."""
    reached = [
        f"{p.loss:.4g} at {p.lr:.2g}" if p.loss is not None else f"{p.status} at {p.lr:.2g}" for p in refinement.probes
    ]
    factor = f"{refinement.after / refinement.before:.2g}"
    moved = f"{'not moved' if factor == '1' else f'moved by a factor of {factor}'} from {refinement.before:.2g}"
    if learned_nothing(refinement):
        moved += f", as none is below {refinement.initial:.4g}, where they began"
    steps = max(probe.steps for probe in refinement.probes)
    return f"{refinement.metric} after {steps} steps: {', '.join(reached)}; {moved}"


def learned_nothing(refinement: Refinement) -> bool:
    """Whether no probe got below the loss that all began with."""
    return all(probe.loss is None or probe.loss >= refinement.initial for probe in refinement.probes)
