"""An optimizer of the program: what its groups are, and how their rates are set."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.optimizer import Optimizer

CYCLED = ("betas", "momentum", "weight_decay")  # hyperparameters that schedules move along with the rate


class Driven:
    """An optimizer whose groups keep the ratios that their rates had when it was first seen."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.has_stepped = False
        self._rates: list[float] = []
        self._cycled: list[dict[str, Any]] = []
        self._learn()

    def facts(self) -> dict[str, Any]:
        """What the parent is told of it."""
        groups = [
            {
                "name": None if group.get("name") is None else str(group["name"]),
                "parameters": sum(parameter.numel() for parameter in group["params"]),
                "lr": rate,
            }
            for group, rate in zip(self.optimizer.param_groups, self._rates)
        ]
        return {"name": type(self.optimizer).__name__, "groups": groups}

    def set_lr(self, lr: float) -> None:
        """Set all groups' rates, of which the largest becomes `lr`, and undo what a schedule did beside the rate."""
        groups = self.optimizer.param_groups
        if len(groups) != len(self._rates):
            self._learn()
        for group, share, cycled in zip(groups, self._shares, self._cycled):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(lr * share)
            else:
                group["lr"] = lr * share
            group.update(cycled)

    def _learn(self) -> None:
        """See the groups that are new, which may be added as layers are unfrozen."""
        for group in self.optimizer.param_groups[len(self._rates) :]:
            # schedulers keep the group's own rate, and may have begun their warmup already; OneCycleLR keeps its peak
            own = next(group[key] for key in ("max_lr", "initial_lr", "lr") if key in group)
            self._rates.append(float(own))
            self._cycled.append({key: group[key] for key in CYCLED if key in group})
        largest = max(self._rates, default=0.0)
        self._shares = [rate / largest if largest > 0 else 1.0 for rate in self._rates]
