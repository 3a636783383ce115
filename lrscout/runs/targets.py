"""From a dotted path to a workload."""

from __future__ import annotations

from collections.abc import Callable

from lrscout.engine.randomness import seed_everything
from lrscout.engine.target import load_target
from lrscout.engine.workload import Workload, make_workload
from lrscout.results import Target


def open_workload(target: Target, seed: int, on_phase: Callable[[str], None] = lambda name: None) -> Workload:
    """Load a dotted path with all random states seeded; `on_phase` hears of the import, and of the call.

    Raises:
        TargetError: it cannot be loaded, or does not give a workload.
    """
    seed_everything(seed)
    return make_workload(load_target(target, on_phase))
