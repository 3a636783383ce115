"""`lrscout find-batch-size`: look at the target, try sizes, recommend, save, show."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from lrscout.commands.gate import Gate, gate_flags
from lrscout.commands.invocation import Invocation
from lrscout.commands.options import takes_settings
from lrscout.commands.run import Run, past_typer, running
from lrscout.formatting import format_bytes, format_rate, format_seconds
from lrscout.report.output import Progress
from lrscout.results import BatchSizeRecord, Trial
from lrscout.runs.batch_size.observer import BatchSizeObserver
from lrscout.runs.batch_size.search import search_batch_size
from lrscout.settings import FindBatchSizeSettings

SHOWN_SECONDS = 0.1  # from which it is shown how long something has been under way


@takes_settings("find_batch_size", FindBatchSizeSettings, gate_flags)
def find_batch_size(invocation: Invocation[FindBatchSizeSettings]) -> None:
    """Find the largest batch size that fits and the fastest, in a few trials within a memory budget."""
    gate = Gate("find-batch-size", invocation)
    with running("find-batch-size", invocation) as run:
        with past_typer(), run.output.progress(None, "find-batch-size", _facts) as progress:
            observer = _Observer(run, progress)
            record = search_batch_size(invocation.settings, invocation.target, observer, on_output=run.output.relay)
        run.finish(record, gate.checks(record))


class _Observer(BatchSizeObserver):
    """Follows the search on the progress line, and keeps the record as it goes."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self._run, self._progress = run, progress
        self._now = "loading the target"
        self._started = monotonic()
        self._done = 0

    def loading(self) -> None:
        self._started = monotonic()
        self.waiting()

    def trying(self, batch_size: int) -> None:
        self._now, self._started = f"size {batch_size}", monotonic()
        self.waiting()

    def measuring(self, what: str) -> None:
        self._now, self._started = what, monotonic()
        self._done += 1
        self.waiting()

    def waiting(self) -> None:
        self._progress.update(self._done, self._now, None, monotonic() - self._started)

    def tried(self, trial: Trial, so_far: Callable[[], BatchSizeRecord]) -> None:
        self._done += 1
        self._progress.update(self._done, self._now, trial, trial.seconds)
        self._run.keep(so_far)


def _facts(now: str, trial: Trial | None, seconds: float) -> tuple[str, ...]:
    took = format_seconds(round(seconds, 1))
    found = [now]
    if trial is not None:
        found.append(trial.outcome.replace("_", " "))
        found += [] if trial.peak_bytes is None else [format_bytes(trial.peak_bytes)]
        found += [] if trial.samples_per_second is None else [f"{format_rate(trial.samples_per_second)} samples/s"]
    return (*found, took) if trial is not None or seconds >= SHOWN_SECONDS else tuple(found)
