"""`lrscout find-lr`: load the target, sweep it, suggest, save, show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from lrscout.commands.invocation import Invocation
from lrscout.commands.options import takes_settings
from lrscout.commands.run import Run, running
from lrscout.report.output import Progress
from lrscout.results import CommandTarget, LrRecord, SweepPoint, TrainingPoint
from lrscout.runs.lr.command import attached
from lrscout.runs.lr.observer import LrObserver
from lrscout.runs.lr.search import search_lr
from lrscout.runs.lr.trainer import LrTrainer
from lrscout.settings import FindLrSettings


@takes_settings("find_lr", FindLrSettings)
def find_lr(invocation: Invocation[FindLrSettings]) -> None:
    """Suggest a learning rate: raise it over a short training run until the loss diverges, and read the curve."""
    settings = invocation.settings
    with running("find-lr", invocation) as run, _trainer(invocation, run) as trainer:
        with run.output.progress(settings.steps, "find-lr") as progress:
            record = search_lr(trainer, settings, _Observer(run, progress))
        run.finish(record)


@contextmanager
def _trainer(invocation: Invocation[FindLrSettings], run: Run) -> Iterator[LrTrainer]:
    """The target, loaded or started."""
    target, settings = invocation.target, invocation.settings
    if isinstance(target, CommandTarget):
        with attached(target, settings, run.output.relay) as trainer:
            yield trainer
        return
    from lrscout.runs.lr.live import LiveTrainer  # here and not above: they bring torch
    from lrscout.runs.targets import open_workload

    yield LiveTrainer(open_workload(target, settings.seed), settings, target)


class _Observer(LrObserver):
    """Shows every step on the progress line, and keeps the record as it goes."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self._run, self._progress, self._steps = run, progress, count(1)

    def planned(self, steps: int) -> None:
        self._progress.expect(steps)

    def stepped(self, point: SweepPoint | TrainingPoint, so_far: Callable[[], LrRecord]) -> None:
        self._progress.update(next(self._steps), point.lr, point.loss)
        self._run.keep(so_far)
