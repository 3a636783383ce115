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

    def rest(self) -> None:
        """Set the rates that the groups were configured with."""
        set_rates(self.optimizer.param_groups, self.rates, 1.0)


def watcher() -> Any:
    """Who would look for optimizer steps in this process, without its hooks; None where nobody searches.

    What a target trains while it is built is not what is searched.
    """
    module = sys.modules.get(f"{ATTACHED}.agent")
    agent = None if module is None else module.present
    if agent is not None:
        agent.detach()
    return agent


def guide(watcher: Any, session: Session, wanted: str | None, warnings: Sequence[str]) -> Any:
    """Who names the rates of the steps (lrscout.attached.guided.Guided), in the place of a watcher.

    `wanted` is what --optimizer names.
    """
    optimizers = [OwnOptimizer(each) for each in session.optimizers]
    guided: Any = importlib.import_module(f"{ATTACHED}.guided")
    return guided.Guided(watcher, optimizers, _facts(session, wanted, warnings), partial(with_gradients, session))


def _facts(session: Session, wanted: str | None, warnings: Sequence[str]) -> dict[str, Any]:
    names = list(session.named.all)
    return {
        "environment": describe_environment(session),
        "wanted": wanted,
        "driven": [names.index(name) for name in session.named.driven],
        "length": list(own_length(session)),
        "micro_batches": session.accumulate,
        "warnings": [*session.warnings, *warnings],
    }
