"""The steps of a trial: their memory by phase, then their speed."""

from __future__ import annotations

from statistics import median
from typing import Any

import torch
from torch import nn

from lrscout.attached.memory import Memory
from lrscout.engine.batches import to_device
from lrscout.engine.devices import synchronize
from lrscout.engine.randomness import preserved_random_state
from lrscout.engine.session import Session
from lrscout.engine.trials.feed import Feed
from lrscout.engine.trials.judging import EXTRA_STEPS, memory_growth, over_limit
from lrscout.engine.trials.phases import measured_phases
from lrscout.engine.trials.requests import TimedSteps, TrySize
from lrscout.engine.trials.timing import time_steps
from lrscout.results import Trial


def take_steps(
    session: Session, feed: Feed, memory: Memory, request: TrySize, trial_steps: int
) -> tuple[Trial, TimedSteps | None]:
    """Take so many steps and then time some more, unless those exceed the limit."""
    if request.evaluates:
        _fill_optimizers(session)
    step = _eval_step(session, feed) if request.evaluates else session.train_step

    def finished_step() -> None:
        step()
        synchronize(session.device)

    held: list[int | None] = []  # after each step
    with measured_phases(session, memory) as phases:
        while len(held) < trial_steps or (len(held) < trial_steps + EXTRA_STEPS and memory_growth(held) is not None):
            finished_step()
            phases.step_ended()
            held.append(memory.held())
            if len(held) == 1:
                memory.tighten()
            problem = over_limit(phases.peak, request.limit_bytes) or memory.problem()
            if problem is not None:
                return phases.trial(request.batch_size, "out_of_memory", len(held), reason=problem), None
    memory.loosen()
    feed.end_worst_case()
    next(feed)  # starts the workers of the loader if it has not been used yet
    feed.seconds_waited = 0.0
    seconds = time_steps(finished_step)
    samples = request.batch_size * (1 if request.evaluates else session.accumulate)
    trial = phases.trial(
        request.batch_size,
        "fits",
        len(held) + len(seconds),
        samples_per_second=samples / median(seconds),
        loader_share=min(1.0, feed.seconds_waited / sum(seconds)),
        growth_bytes=memory_growth(held),
    )
    return trial, TimedSteps(tuple(seconds), samples, trial.loader_share)


def _eval_step(session: Session, feed: Feed) -> Any:
    return lambda: session.evaluate([to_device(next(feed), session.device)])


def _fill_optimizers(session: Session) -> None:
    """Create gradients and optimizer state, which also exist when a training run evaluates."""
    for optimizer in session.optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()


def warm_up(device: torch.device) -> None:
    """Take two small steps, so that threads, libraries and handles are created before memory is counted."""
    with preserved_random_state():
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 8)).to(device)
        optimizer = torch.optim.AdamW(model.parameters())
        for _ in range(2):
            loss = model(torch.zeros(16, 1, 8, 8, device=device)).square().mean()
            loss.backward()
            optimizer.step()
        synchronize(device)
