"""The learning rate for the recommended size: by a rule, or with --find-lr measured at that size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from time import monotonic
from typing import TYPE_CHECKING

from lrscout.errors import LrscoutError, summary
from lrscout.processes.messages import Report, Request
from lrscout.results import (
    BatchSizeResult,
    LrRecord,
    LrResult,
    OwnSize,
    ScaledRate,
    SweepPoint,
    Target,
    TrainingPoint,
)
from lrscout.runs.batch_size.observer import BatchSizeObserver
from lrscout.runs.lr.observer import LrObserver
from lrscout.runs.lr.search import search_lr
from lrscout.search.scaling import MEASURED, scaled_rate
from lrscout.settings import FindBatchSizeSettings, FindLrSettings, SessionSettings

if TYPE_CHECKING:
    from lrscout.engine.trials.bench import Bench
    from lrscout.runs.batch_size.trials import Trials


def rate_by_rule(result: BatchSizeResult, own: OwnSize | None, accumulate: int) -> ScaledRate | None:
    """The rate for the recommended size, if that is not the target's own."""
    size = result.batch_size
    if own is None or own.optimizer is None or size is None or size == own.batch_size:
        return None
    return scaled_rate(own.lr, own.optimizer, own.batch_size * accumulate, size * accumulate, result.noise_scale)


def find_lr_settings(settings: FindBatchSizeSettings) -> FindLrSettings:
    """The defaults of find-lr, with the training step of this search."""
    return FindLrSettings(**{field.name: getattr(settings, field.name) for field in fields(SessionSettings)})


@dataclass(frozen=True)
class MeasureRate(Request["Bench", LrRecord]):
    """Search for a learning rate at one batch size; like find-lr itself, it may take as long as it needs."""

    batch_size: int
    settings: FindLrSettings

    def perform(self, host: Bench, report: Report) -> LrRecord:
        from lrscout.runs.lr.live import LiveTrainer  # not at the top, because it imports torch

        with host.workload(self.batch_size) as workload:
            return search_lr(LiveTrainer(workload, self.settings, Target(None)), self.settings)


class WaitingLrObserver(LrObserver):
    """Tells at every step that something is under way."""

    def __init__(self, on_wait: Callable[[], None]) -> None:
        self._on_wait = on_wait

    def stepped(self, point: SweepPoint | TrainingPoint, so_far: Callable[[], LrRecord]) -> None:
        self._on_wait()


def with_measured_rate(
    result: BatchSizeResult, trials: Trials, observer: BatchSizeObserver
) -> tuple[BatchSizeResult, tuple[str, ...]]:
    """The result with the rate that find-lr suggests at its size, and warnings about that.

    Whatever goes wrong, the result keeps its batch size, and its rate by a rule.
    """
    size = result.batch_size
    if size is None or result.interrupted:
        return result, ()
    what = f"the learning rate at size {size}"
    started = monotonic()
    try:
        observer.measuring(what)
        record = trials.rate(size)
        if record.status == "interrupted":
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        told = f"The search for {what} was interrupted{_instead(result)}."
        return replace(result, rate_interrupted=True), (told,)
    except (Exception, SystemExit) as error:  # of the user's too: the batch size is not to be lost
        return result, (f"{what.capitalize()} could not be measured{_instead(result)}: {_told(error)}",)
    result = replace(result, seconds=result.seconds + monotonic() - started)
    warnings = tuple(f"find-lr at size {size}: {warning}" for warning in record.warnings)
    found = record.result
    assert found is not None
    if found.suggestion.lr is None:
        why = f"{found.suggestion.reason.rstrip('.')}. `lrscout find-lr` at that size shows the loss over the rate."
        return result, (*warnings, f"{what.capitalize()} could not be measured{_instead(result)}: {why}")
    return replace(result, rate=_measured(found, found.suggestion.lr, result.own)), warnings


def _measured(found: LrResult, lr: float, own: OwnSize | None) -> ScaledRate:
    factor = None if own is None or not own.lr else lr / own.lr
    suggestions = (found.suggestion, *(other.result.suggestion for other in found.others))
    return ScaledRate(lr, factor, MEASURED, is_far=False, measured=suggestions)


def _instead(result: BatchSizeResult) -> str:
    return "" if result.rate is None else f", so the rate of the {result.rate.rule} rule is shown"


def _told(error: BaseException) -> str:
    if isinstance(error, LrscoutError):
        return f"{error.message} {error.hint or ''}".rstrip()
    return summary(error)
