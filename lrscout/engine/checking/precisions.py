"""A step in each precision."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from textwrap import shorten
from time import perf_counter
from typing import get_args

from lrscout.engine.batches import to_device
from lrscout.engine.checking.copies import copied
from lrscout.engine.checking.subject import Subject
from lrscout.engine.devices import synchronize
from lrscout.engine.trials.timing import time_steps
from lrscout.engine.workload import groups_of
from lrscout.errors import summary
from lrscout.settings.session import Precision

SLOW_SECONDS = 1.0  # a step that takes longer is not timed again
LONGEST = 100  # characters of an exception
TIMED_STEPS, TIMED_SECONDS = 8, 0.3


@dataclass(frozen=True, slots=True)
class PrecisionFacts:
    """The first loss in a precision, and the speed."""

    precision: Precision
    loss: float
    finite_gradients: bool  # without a scaler
    seconds: float  # of a step


def examine_precisions(subject: Subject) -> dict[Precision, PrecisionFacts | str]:
    """A step in every precision; the text of the exception where one cannot be taken."""
    found: dict[Precision, PrecisionFacts | str] = {}
    for precision in get_args(Precision):
        subject.tick(precision)
        try:
            found[precision] = _examine(subject, precision)
        except Exception as error:  # of any type: not every operation knows every precision
            found[precision] = shorten(summary(error), LONGEST, placeholder=" ...")
    return found


def _examine(subject: Subject, precision: Precision) -> PrecisionFacts:
    with subject.session(precision=precision) as session:
        batch = to_device(copied(subject.batches[0]), session.device)
        started = perf_counter()
        loss = session.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        synchronize(session.device)
        seconds = perf_counter() - started
        gradients = [p.grad for group in groups_of(session.optimizers) for p in group["params"] if p.grad is not None]
        finite = all(bool(gradient.isfinite().all()) for gradient in gradients if not gradient.is_sparse)
        if seconds < SLOW_SECONDS:
            session.set_lr(0.0)

            def step() -> None:
                session.train_step()
                synchronize(session.device)

            step()
            seconds = median(time_steps(step, TIMED_STEPS, TIMED_SECONDS))
        return PrecisionFacts(precision, float(loss.detach()), finite, seconds)
