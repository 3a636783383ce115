"""The trials of a search by size alone, and what a failed one says."""

from __future__ import annotations

from lrscout.engine.trials.requests import Attempt, TargetFacts, TimedSteps
from lrscout.errors import LrscoutError
from lrscout.results import Trial
from lrscout.runs.batch_size.observer import BatchSizeObserver
from lrscout.runs.batch_size.trials import Trials


class Sizes:
    """Runs trials for a search, which asks for them by size alone."""

    last: Attempt

    def __init__(
        self,
        trials: Trials,
        facts: TargetFacts,
        limit_bytes: int | None,
        evaluates: bool,
        observer: BatchSizeObserver,
        about: int | None,
    ) -> None:
        self._trials, self._limit, self._evaluates, self._observer = trials, limit_bytes, evaluates, observer
        self._about, self._number = about, 0  # of trials: how many there may be, and have been
        self.timed: dict[int, TimedSteps] = {}  # by the size of the trial
        self._longest, self._available = facts.data(evaluates).longest, facts.available_bytes

    def try_size(self, batch_size: int) -> Trial:
        self.last = self._run(batch_size, self._limit)
        if self.last.timed is not None:
            self.timed[batch_size] = self.last.timed
        return self.last.trial

    def peak_without_limit(self, batch_size: int) -> int | None:
        """The peak of a size if it may take all the memory there is."""
        if self._limit is None or self._available is None or self._available <= self._limit:
            return None
        return self._run(batch_size, self._available).trial.peak_bytes

    def _run(self, batch_size: int, limit_bytes: int | None) -> Attempt:
        self._number += 1
        self._observer.trying(batch_size, self._number, self._about)
        return self._trials.run(batch_size, limit_bytes, self._longest, self._evaluates)


def failure_of(attempt: Attempt) -> BaseException:
    """The exception behind a failed trial, saying at which size."""
    size, error = attempt.trial.batch_size, attempt.error
    where = f"This was the trial of size {size}."
    if error is None:
        return LrscoutError(f"{attempt.trial.reason} {where}")
    if isinstance(error, LrscoutError):
        return error.extended(where)
    error.add_note(f"lrscout: {where}")
    return error
