"""`lrscout find-batch-size`: look at the target, try sizes, recommend, save, show."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from lrscout.commands.gate import Gate, gate_flags
from lrscout.commands.invocation import Invocation
from lrscout.commands.options import takes_settings
from lrscout.commands.run import Run, past_typer, running
from lrscout.formatting import format_bytes, format_rate, format_seconds
from lrscout.report.output import Progress
from lrscout.results import BatchSizeRecord, CommandTarget, Trial
from lrscout.runs.batch_size.observer import BatchSizeObserver
from lrscout.runs.batch_size.search import search_batch_size
from lrscout.settings import FindBatchSizeSettings


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
        self._run, self._progress, self._done = run, progress, count(1)

    def loading(self) -> None:
        target = self._run.target
        starts = target.start if isinstance(target, CommandTarget) else f"importing torch, building {target.label}"
        self._progress.phase(starts)

    def trying(self, batch_size: int, number: int, about: int | None) -> None:
        of = f" of about {about}" if about is not None and number <= about else ""
        self._progress.phase(f"size {batch_size}, trial {number}{of}")

    def measuring(self, what: str) -> None:
        self._progress.phase(what)

    def tried(self, trial: Trial, so_far: Callable[[], BatchSizeRecord]) -> None:
        self._progress.update(next(self._done), trial)
        self._run.keep(so_far)


def _facts(trial: Trial) -> tuple[str, ...]:
    found = [trial.outcome.replace("_", " ")]
    found += [] if trial.peak_bytes is None else [format_bytes(trial.peak_bytes)]
    found += [] if trial.samples_per_second is None else [f"{format_rate(trial.samples_per_second)} samples/s"]
    return (*found, format_seconds(round(trial.seconds, 1)))
