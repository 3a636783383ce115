"""Where the trials of a batch size run: in this process, or in others."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from lrscout.engine.requests import EstimateRequest, Facts, Request, ShapeEstimate
from lrscout.errors import UsageError
from lrscout.results import Target, Trial
from lrscout.settings import FindBatchSizeSettings


class Trials(Protocol):
    """Where trials run: in this process, or in others."""

    failure: BaseException | None  # behind the last trial, where it failed

    def inspect(self) -> Facts:
        """Look at the target."""

    def estimate(self, request: EstimateRequest) -> ShapeEstimate:
        """What a step would take."""

    def run(self, request: Request) -> Trial:
        """Run one trial."""

    def close(self) -> None:
        """End whatever was started for them."""


def open_trials(settings: FindBatchSizeSettings, target: Target, found: Any, on_wait: Callable[[], None]) -> Trials:
    """Make ready for trials of a target: a path is tried in other processes, where the settings allow it.

    Raises:
        UsageError: live objects cannot go to another process, or this is one already.
    """
    from lrscout.engine.isolation import IN_TRIAL, IsolatedTrials, TrialServer

    if os.environ.get(IN_TRIAL):
        raise UsageError(
            "find_batch_size was called while a trial imported the target.",
            hint='Put the call under `if __name__ == "__main__":`.',
        )
    if target.path is not None and settings.isolate != "never" and hasattr(os, "fork"):
        return IsolatedTrials(TrialServer(), target, settings, on_wait)
    if settings.isolate == "always":
        raise UsageError(
            "Live objects cannot be tried in processes of their own (--isolate always).",
            hint="Hand over a dotted path, or a function at the top of a module.",
        )
    from lrscout.engine.batch_sizes import Source
    from lrscout.engine.target import find_target
    from lrscout.engine.trials import Bench

    if found is None:
        found = find_target(target)
    return Bench(Source(found, target, settings.batch_arg, settings.seed), settings, own_process=False)
