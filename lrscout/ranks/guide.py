"""How the program takes part in a search: what it tells of itself, and who names its rates."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch.optim import Optimizer

from lrscout.engine.environment import describe_environment
from lrscout.engine.length import own_length
from lrscout.engine.rates import own_rates, ratios_of, set_rates
from lrscout.engine.session import Session
from lrscout.engine.training import Trainee
from lrscout.engine.trials.gradients import with_gradients

ATTACHED = "_lrscout_attached"  # the package that lrscout has brought into this process


class OwnOptimizer:
    """An optimizer whose groups keep the ratios of the rates that they were configured with."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.rates, self._ratios = own_rates(optimizer.param_groups), ratios_of(optimizer.param_groups)

    def set_lr(self, lr: float) -> None:
        """Set all groups' rates, of which the largest becomes `lr`."""
        set_rates(self.optimizer.param_groups, self._ratios, lr)


def guide(session: Session, warnings: Sequence[str], evaluates: bool) -> Any:
    """Who names the rates of the steps (lrscout.attached.guided.Guided); None where nobody searches.

    What is searched for may be such that held-out data is never evaluated.
    """
    agent = sys.modules.get(f"{ATTACHED}.agent")
    if agent is None or agent.present is None:
        return None
    optimizers = [OwnOptimizer(each) for each in session.optimizers]
    guided: Any = importlib.import_module(f"{ATTACHED}.guided")
    return guided.Guided(
        agent.present, optimizers, _facts(session, warnings, evaluates), partial(with_gradients, session)
    )


def _facts(session: Session, warnings: Sequence[str], evaluates: bool) -> dict[str, Any]:
    names = list(session.named.all)
    held_out, about_held_out = _held_out(session) if evaluates else (False, ())
    return {
        "environment": describe_environment(session),
        "driven": [names.index(name) for name in session.named.driven],
        "length": list(own_length(session)),
        "micro_batches": session.accumulate,
        "held_out": held_out,
        "warnings": [*session.warnings, *warnings, *about_held_out],
    }


def _held_out(session: Session) -> tuple[bool, tuple[str, ...]]:
    """Whether there is held-out data that can be evaluated, and what the user should know about that."""
    workload = session.workload
    if workload.val_loader is None or workload.host.framework is None:
        return workload.val_loader is not None, ()
    with session.open():
        trainee = Trainee(session)
        return trainee.lacks is None, trainee.warnings
