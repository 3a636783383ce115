"""`lrscout find-lr`: load the target, sweep it, suggest, save, show."""

from __future__ import annotations

from collections.abc import Callable

from lrscout.commands.gate import Gate, gate_flags
from lrscout.commands.invocation import Invocation
from lrscout.commands.options import takes_settings
from lrscout.commands.run import Run, past_typer, running
from lrscout.report.output import Progress
from lrscout.results import CommandTarget, LrRecord, SweepPoint, TrainingPoint
from lrscout.runs.lr.command import search_command
from lrscout.runs.lr.elsewhere import is_elsewhere, search_elsewhere
from lrscout.runs.lr.observer import LrObserver
from lrscout.settings import FindLrSettings


@takes_settings("find_lr", FindLrSettings, gate_flags)
def find_lr(invocation: Invocation[FindLrSettings]) -> None:
    """Suggest a learning rate: raise it over a short training run until the loss diverges, and read the curve."""
    settings, gate = invocation.settings, Gate("find-lr", invocation)
    with running("find-lr", invocation) as run:
        with past_typer(), run.watched(), run.output.progress(settings.steps, "find-lr") as progress:
            record = _searched(invocation, run, _Observer(run, progress), progress)
        run.finish(record, gate.checks(record))


def _searched(invocation: Invocation[FindLrSettings], run: Run, observer: LrObserver, progress: Progress) -> LrRecord:
    """Load the target or start the command, and search, here or elsewhere."""
    target, settings = invocation.target, invocation.settings
    progress.phase(_beginning(invocation))
    if is_elsewhere(settings):
        return search_elsewhere(target, settings, observer, run.output.relay)
    if not settings.is_here:
        asked = "--engine ray" if settings.engine == "ray" else f"--jobs {settings.jobs}"
        several = "only --seeds and --refine make trainings that need not wait for each other"
        run.output.note(f"{asked} has nothing to share: {several}.")
    if isinstance(target, CommandTarget):
        return search_command(target, settings, observer, run.output.relay)
    run.load("lrscout.runs.lr.live")
    from lrscout.runs.lr.live import search_live  # here and not above: they bring torch
    from lrscout.runs.targets import open_workload

    return search_live(open_workload(target, settings.seed, progress.phase), settings, target, observer)


def _beginning(invocation: Invocation[FindLrSettings]) -> str:
    """What happens first."""
    target, settings = invocation.target, invocation.settings
    if isinstance(target, CommandTarget):
        return target.start
    if not is_elsewhere(settings):
        return "importing torch"
    return f"{'starting Ray' if settings.engine == 'ray' else 'importing torch'}, building {target.path}"


class _Observer(LrObserver):
    """Shows every step on the progress line, and keeps the record as it goes."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self._run, self._progress, self._steps = run, progress, 0

    def phase(self, name: str) -> None:
        self._progress.phase(name)

    def planned(self, steps: int) -> None:
        self._progress.expect(steps)

    def stepped(self, point: SweepPoint | TrainingPoint, so_far: Callable[[], LrRecord]) -> None:
        self._steps += 1
        self._progress.update(self._steps, point.lr, point.loss)
        self._run.keep(so_far)

    def advanced(self, steps: int, lr: float, loss: float) -> None:
        self._steps += steps
        self._progress.update(self._steps, lr, loss)
        self._run.watchdog.hear()
        self._run.catch_up()

    def keep(self, so_far: Callable[[], LrRecord]) -> None:
        self._run.keep(so_far)
