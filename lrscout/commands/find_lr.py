"""`lrscout find-lr`: load the target, sweep it, suggest, save, show."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from lrscout.commands.options import Invocation, takes_settings
from lrscout.settings import FindLrSettings

if TYPE_CHECKING:
    from lrscout.results import RunRecord, SweepPoint


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
        with run.output.progress(settings.steps * settings.seeds, "find-lr") as progress:

            def watch(point: SweepPoint, so_far: Callable[[], RunRecord]) -> None:
                progress.update(next(steps), point.lr, point.loss)
                run.keep(so_far)

            record = search_lr(workload, settings, invocation.target, watch)
        run.finish(record)
