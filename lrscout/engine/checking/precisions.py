"""A step in each precision."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median
from textwrap import shorten
from time import perf_counter
from typing import Any, get_args

from lrscout.engine.batches import to_device
from lrscout.engine.checking.copies import copied
from lrscout.engine.checking.subject import Subject
from lrscout.engine.checks import needs_closure
from lrscout.engine.devices import synchronize
from lrscout.engine.trials.timing import time_steps
from lrscout.engine.workload import groups_of
from lrscout.errors import LrscoutError, summary
from lrscout.settings.session import Precision

SLOW_SECONDS = 1.0  # a step that takes longer is not timed again
LONGEST = 100  # characters of an exception
TIMED_STEPS, TIMED_SECONDS = 8, 0.3
PATIENCE_SECONDS = 5.0  # longer than in fp32, on a CPU


@dataclass(frozen=True, slots=True)
class PrecisionFacts:
    """The first loss in a precision, and the speed."""

    precision: Precision
    loss: float
    finite_gradients: bool  # without a scaler
    seconds: float  # of a step


def examine_precisions(subject: Subject) -> dict[Precision, PrecisionFacts | str]:
    """A step in every precision; where one cannot be taken, what is to be said of the precision."""
    found: dict[Precision, PrecisionFacts | str] = {}
    for precision in get_args(Precision):
        subject.tick(precision)
        full = found.get("fp32")
        limit = PATIENCE_SECONDS + full.seconds if isinstance(full, PrecisionFacts) else None
        try:
            found[precision] = _examine(subject, precision, limit)
        except TooSlowError as error:
            found[precision] = f"was given up after {error.seconds:.1f} s, since this CPU only emulates it"
        except Exception as error:  # of any type: not every operation knows every precision
            told = error.message if isinstance(error, LrscoutError) else summary(error)
            found[precision] = f"cannot be used ({shorten(told.rstrip('.'), LONGEST, placeholder=' ...')})"
    return found


def _examine(subject: Subject, precision: Precision, limit: float | None) -> PrecisionFacts:
    with subject.session(precision=precision) as session:
        batch = to_device(copied(subject.batches[0]), session.device)
        started = perf_counter()
        if session.device.type != "cpu" or _has_compiled():
            limit = None
        with at_most(limit) if limit is not None else nullcontext():
            loss = session.loss(batch)
            loss.backward()  # type: ignore[no-untyped-call]
        synchronize(session.device)
        seconds = perf_counter() - started
        gradients = [p.grad for group in groups_of(session.optimizers) for p in group["params"] if p.grad is not None]
        finite = all(bool(gradient.isfinite().all()) for gradient in gradients if not gradient.is_sparse)
        if seconds < SLOW_SECONDS:
            # a line search divides by the rate
            session.set_lr(subject.own_lr if any(map(needs_closure, session.optimizers)) else 0.0)

            def step() -> None:
                session.train_step()
                synchronize(session.device)

            step()
            seconds = median(time_steps(step, TIMED_STEPS, TIMED_SECONDS))
        return PrecisionFacts(precision, float(loss.detach()), finite, seconds)


class TooSlowError(Exception):
    """An operation began too late."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"more than {seconds:.1f} s")
        self.seconds = seconds


def at_most(seconds: float) -> AbstractContextManager[Any]:
    """Raise a TooSlowError at the first operation of torch, of a backward pass too, that begins after so long."""
    # imported here, because a private module may be missing: only this depends on it
    from torch.utils._python_dispatch import TorchDispatchMode

    until = perf_counter() + seconds

    class Limit(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if perf_counter() > until:
                raise TooSlowError(seconds)
            return func(*args, **(kwargs or {}))

    return Limit()  # type: ignore[no-untyped-call]


def _has_compiled() -> bool:
    """Whether torch.compile has compiled anything: it leaves out what runs under a dispatch mode, and for good."""
    utils = sys.modules.get("torch._dynamo.utils")
    return any(getattr(utils, "counters", {}).values())
