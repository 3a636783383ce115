"""What both hosts of a comparison's requests need."""

from __future__ import annotations

import time
from collections.abc import Callable

from lrscout.errors import NoAnswerError
from lrscout.results import LrRecord, TrainingPoint
from lrscout.search.training import TrainingSession
from lrscout.settings import CompareSchedulersSettings, FindLrSettings, SessionSettings, fields_of

REPORT_SECONDS = 0.1  # between two reports of a run under way
EVAL_SHARE = 20  # evaluations of a schedule that depends on them, over the whole run
TIMED_STEPS, WARMUP_STEPS = 20, 5  # of measuring what a run costs

OnPoint = Callable[[TrainingPoint], None]


def settings_of_sweep(settings: CompareSchedulersSettings) -> FindLrSettings:
    """The settings of find-lr for the rate that a comparison starts from."""
    names = [field.name for field in fields_of(SessionSettings)]
    return FindLrSettings(horizon=settings.steps, **{name: getattr(settings, name) for name in names})


def suggested(record: LrRecord) -> float:
    """The rate that find-lr suggests.

    Raises:
        NoAnswerError: it suggests none.
    """
    if record.status == "interrupted":
        raise KeyboardInterrupt
    assert record.result is not None
    suggestion = record.result.suggestion
    if suggestion.lr is None:
        raise NoAnswerError(
            f"find-lr suggests no rate to start from: {suggestion.reason}",
            hint="Give one with --lr. `lrscout find-lr` has more options to find it.",
        )
    return float(suggestion.lr)


def timed_steps(session: TrainingSession) -> tuple[float, float]:
    """When a session was warm, in seconds of perf_counter, and the seconds that a step takes from then on."""
    for _ in range(WARMUP_STEPS):
        session.step()
    session.losses(wait=True)
    warm = time.perf_counter()
    for _ in range(TIMED_STEPS):
        session.step()
    session.losses(wait=True)
    return warm, (time.perf_counter() - warm) / TIMED_STEPS


def steps_between(steps: int, settings: CompareSchedulersSettings) -> range:
    """The steps after which a schedule that depends on evaluations is told one."""
    every = settings.eval_every or max(1, steps // EVAL_SHARE)
    return range(every - 1, steps, every)


def at_times(report: OnPoint) -> OnPoint:
    """The same function, but called only a few times a second."""
    following = 0.0

    def sometimes(point: TrainingPoint) -> None:
        nonlocal following
        now = time.monotonic()
        if now >= following:
            following = now + REPORT_SECONDS
            report(point)

    return sometimes
