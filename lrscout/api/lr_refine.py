"""The short trainings behind find-lr: probes where a sweep cannot know, and those of --refine."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from statistics import fmean
from typing import TYPE_CHECKING

from lrscout.results import Probe, Probing, Refinement, SweepResult, TrainingPoint, TrainingResult, Use
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
from lrscout.search.training import GivesUp

if TYPE_CHECKING:
    from lrscout.engine.session import Session

SCHEDULES: dict[Use, str] = {"decay": "cosine:warmup=0.05", "constant": "constant"}
LAST_SHARE = 0.2  # of a probe: its mean training loss there stands for what it reached, where nothing is held out
FIRST_STEPS = 5  # whose mean training loss stands for the loss before training

OnPoint = Callable[[TrainingPoint], None]


def probe(
    session: Session,
    sweep: SweepResult,
    why: str,
    initial: float,
    most: int,
    on_point: OnPoint,
    keep: Callable[[Probing], None],
) -> Probing:
    """Train at a few constant rates around what the sweep may mean, in `most` steps together."""

    def train(lr: float, steps: int, gives_up: GivesUp) -> TrainingResult:
        with session.open():
            return _run(session, "constant", lr, steps, on_point, gives_up=gives_up)

    return probing.probe(train, why, first_probe(Curve(sweep)), initial, most, keep)


def refine(
    session: Session, lr: float, power: float, use: Use, divergence: float, steps: int, on_point: OnPoint
) -> Refinement:
    """Train `steps` steps at each of a few rates around `lr`, a suggestion for trainings of HORIZON steps.

    `power` is that by which it falls with the length of training. All start from the same state, on the same batches,
    under the schedule that the rate is for.
    """
    horizon = measured_horizon(steps)
    center = lr * horizon_factor(horizon, power)
    rates = list(probe_rates(center, divergence))
    runs = {rate: _train(session, rate, use, steps, on_point) for rate in rates}
    before, run = runs[rates[0]]
    first = [point.loss for point in run.points[:FIRST_STEPS] if math.isfinite(point.loss)]
    initial = before if before is not None else fmean(first) if first else math.nan
    probes = [_probe(rate, run, before is not None) for rate, (_, run) in runs.items()]
    while (rate := rate_beyond(probes, initial, divergence)) is not None:
        _, run = _train(session, rate, use, steps, on_point)
        probes = sorted([*probes, _probe(rate, run, before is not None)], key=lambda probe: probe.lr)
    price = HELD_OUT_PENALTY[use] if before is not None else TRAINING_PENALTY
    after = refined_rate(center, probes, initial, price) if math.isfinite(initial) else center
    return Refinement(
        center, after, horizon, "training loss" if before is None else "held-out loss", initial, tuple(probes)
    )


def _train(session: Session, lr: float, use: Use, steps: int, on_point: OnPoint) -> tuple[float | None, TrainingResult]:
    """The held-out loss before the training, and the training."""
    from lrscout.engine.training import Trainee

    with session.open():
        return Trainee(session).evaluate(), _run(session, SCHEDULES[use], lr, steps, on_point, (steps - 1,))


def _run(
    session: Session,
    schedule: str,
    lr: float,
    steps: int,
    on_point: OnPoint,
    evaluate_after: Collection[int] = (),
    gives_up: GivesUp | None = None,
) -> TrainingResult:
    from lrscout.engine.schedulers import make_scheduler
    from lrscout.engine.training import Trainee
    from lrscout.search.training import run_training

    scheduler = make_scheduler(parse_schedule(schedule), session.optimizers, lr, steps)
    return run_training(Trainee(session), scheduler, steps, evaluate_after, on_point=on_point, gives_up=gives_up)


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
