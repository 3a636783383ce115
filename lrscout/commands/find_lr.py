"""`lrscout find-lr`: load the target, sweep it, suggest, save, show."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from lrscout.commands.options import Invocation, takes_settings
from lrscout.search.refinement import LEAST_STEPS, OFFSETS
from lrscout.settings import FindLrSettings, read_budget

if TYPE_CHECKING:
    from lrscout.results import LrRecord, SweepPoint, TrainingPoint


@takes_settings("find_lr", FindLrSettings)
def find_lr(invocation: Invocation[FindLrSettings]) -> None:
    """Suggest a learning rate: raise it over a short training run until the loss diverges."""
    from lrscout.api.lr_search import search_lr  # here and not above: --help does without
    from lrscout.api.targets import open_workload
    from lrscout.commands.run import running

    settings = invocation.settings
    with running("find-lr", invocation) as run:
        workload = open_workload(invocation.target, settings.seed)
        steps = count(1)
        refining, _ = read_budget(settings.refine) if settings.refine is not None else (0, None)
        refining = LEAST_STEPS * len(OFFSETS) if refining is None else refining
        total = settings.steps * settings.seeds + refining
        with run.output.progress(total, "find-lr") as progress:

            def watch(point: SweepPoint | TrainingPoint, so_far: Callable[[], LrRecord]) -> None:
                progress.update(next(steps), point.lr, point.loss)
                run.keep(so_far)

            def announce(more: int) -> None:
                nonlocal total
                total += more
                progress.expect(total)

            record = search_lr(workload, settings, invocation.target, watch, announce)
        run.finish(record)
