"""The short trainings behind find-lr: probes where a sweep cannot know, and those of --refine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import fmean

from lrscout.formatting import format_loss, format_lr
from lrscout.results import Probe, Probing, Refinement, SweepResult, TrainingPoint, TrainingResult, Use
from lrscout.runs.lr.trainer import LrTrainer
from lrscout.schedules import parse_schedule
from lrscout.search import probing
from lrscout.search.bracket import first_probe
from lrscout.search.curve import Curve
from lrscout.search.refinement import (
    HELD_OUT_PENALTY,
    TRAINING_PENALTY,
    measured_horizon,
    probe_rates,
    rate_beyond,
    refined_rate,
)
from lrscout.search.scout import horizon_factor
from lrscout.search.training import GivesUp, run_training

SCHEDULES: dict[Use, str] = {"decay": "cosine:warmup=0.05", "constant": "constant"}
LAST_SHARE = 0.2  # of a probe: its mean training loss is the result if there is no held-out data
FIRST_STEPS = 5  # whose mean training loss counts as the loss before training

Begins = Callable[[int], None]  # receives the number of a training that begins, counted from 1
OnPoint = Callable[[TrainingPoint], None]


def probe(
    trainer: LrTrainer,
    sweep: SweepResult,
    why: str,
    initial: float,
    most: int,
    on_point: OnPoint,
    keep: Callable[[Probing], None],
    begins: Begins,
) -> Probing:
    """Train at a few constant rates around the one that the sweep suggests, in at most `most` steps together."""
    numbers = count(1)

    def train(lr: float, steps: int, gives_up: GivesUp) -> TrainingResult:
        begins(next(numbers))
        with trainer.probe(parse_schedule("constant"), lr, steps) as (session, schedule):
            return run_training(session, schedule, steps, on_point=on_point, gives_up=gives_up)

    return probing.probe(train, why, first_probe(Curve(sweep)), initial, most, keep)


@dataclass(frozen=True, slots=True)
class Trained:
    """A training of --refine."""

    before: float | None  # the held-out loss before it
    run: TrainingResult
    warnings: tuple[str, ...] = ()


TrainAll = Callable[[Sequence[float]], Mapping[float, Trained]]
"""Trains at each of these rates, from the same state and on the same batches."""


def refine(train: TrainAll, lr: float, power: float, divergence: float, steps: int, use: Use) -> Refinement:
    """Train `steps` steps at each of a few rates around `lr`, a suggestion for trainings of HORIZON steps.

    The suggestion falls with the length of training to this `power`. All trainings are under the schedule that the
    rate is for, and the first of them do not depend on each other.
    """
    horizon = measured_horizon(steps)
    center = lr * horizon_factor(horizon, power)
    rates = probe_rates(center, divergence)
    trained = train(rates)
    before, run = trained[rates[0]].before, trained[rates[0]].run
    first = [point.loss for point in run.points[:FIRST_STEPS] if math.isfinite(point.loss)]
    initial = before if before is not None else fmean(first) if first else math.nan
    probes = [_probe(rate, trained[rate].run, before is not None) for rate in rates]
    while (rate := rate_beyond(probes, initial, divergence)) is not None:
        run = train([rate])[rate].run
        probes = sorted([*probes, _probe(rate, run, before is not None)], key=lambda probe: probe.lr)
    price = HELD_OUT_PENALTY[use] if before is not None else TRAINING_PENALTY
    after = refined_rate(center, probes, initial, price) if math.isfinite(initial) else center
    return Refinement(
        center, after, horizon, "training loss" if before is None else "held-out loss", initial, tuple(probes)
    )


def train(trainer: LrTrainer, lr: float, use: Use, steps: int, on_point: OnPoint) -> Trained:
    """Make one training of --refine."""
    with trainer.train(parse_schedule(SCHEDULES[use]), lr, steps) as (session, schedule):
        before, run = session.evaluate(), run_training(session, schedule, steps, (steps - 1,), on_point=on_point)
    return Trained(before, run, trainer.warnings)


def _probe(lr: float, run: TrainingResult, held_out: bool) -> Probe:
    steps = len(run.points)
    if run.status != "ok":
        return Probe(lr, run.status, None, steps)
    last = run.points[-max(1, round(LAST_SHARE * steps)) :]
    return Probe(lr, run.status, run.points[-1].val_loss if held_out else fmean(p.loss for p in last), steps)


def describe(refinement: Refinement) -> str:
    """The results of the probes in one sentence."""
    reached = [f"{p.status if p.loss is None else format_loss(p.loss)} at {format_lr(p.lr)}" for p in refinement.probes]
    factor = f"{refinement.after / refinement.before:.2g}"
    moved = f"{'not moved' if factor == '1' else f'moved by a factor of {factor}'} from {format_lr(refinement.before)}"
    if learned_nothing(refinement):
        moved += f", since none got below the initial {format_loss(refinement.initial)}"
    steps = max(probe.steps for probe in refinement.probes)
    return f"{refinement.metric} after {steps} steps: {', '.join(reached)}; {moved}"


def learned_nothing(refinement: Refinement) -> bool:
    """Whether no probe got below the initial loss."""
    return all(probe.loss is None or probe.loss >= refinement.initial for probe in refinement.probes)
