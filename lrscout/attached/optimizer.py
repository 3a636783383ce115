"""An optimizer of the program: what its groups are, and how their rates are set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.optim.optimizer import Optimizer

from .patches import Patches

CYCLED = ("betas", "momentum", "weight_decay")  # hyperparameters that schedules move along with the rate
PEAKS = ("max_lr", "initial_lr")  # where OneCycleLR keeps a group's highest rate, and other schedulers its base rate
SCALES = ("lr_scale", "lr_multiplier", "lr_mult")  # where timm, MAE, BEiT and DINOv2 keep a layer's share of the rate


class MadeWith:
    """The rates that parameter groups were made with; a warm-up by hand overwrites them before the first step."""

    def __init__(self, patches: Patches) -> None:
        self._rates: WeakKeyDictionary[Optimizer, dict[int, float]] = WeakKeyDictionary()  # by the group's place
        patches.replace(Optimizer, "add_param_group", self._noting)  # the constructor calls it for every group

    def rate(self, optimizer: Optimizer, place: int) -> float:
        """The rate of a group; 0 where it is not known."""
        with suppress(TypeError):  # it has no hash
            return self._rates.get(optimizer, {}).get(place, 0.0)
        return 0.0

    def _noting(self, original: Any) -> Any:
        def add_param_group(optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            with suppress(Exception):  # the program shall not fail where a class of its own is unlike all others
                place = len(optimizer.param_groups) - 1
                self._rates.setdefault(optimizer, {})[place] = _positive(optimizer.param_groups[place].get("lr"))

        return add_param_group


class Driven:
    """An optimizer whose groups keep the ratios of their own rates, which are their peaks in the program's schedule."""

    def __init__(self, optimizer: Optimizer, made_with: MadeWith) -> None:
        self.optimizer = optimizer
        self.has_stepped = False
        self._made_with = made_with
        self._rates: list[float] = []
        self._cycled: list[dict[str, Any]] = []
        self._learn()

    def facts(self) -> dict[str, Any]:
        """What the parent is told of it."""
        return facts_of(self.optimizer, self._rates)

    def set_lr(self, lr: float, alone: bool = False) -> None:
        """Set all groups' rates, of which the largest becomes `lr`; unless `alone`, undo what else a schedule did."""
        groups = self.optimizer.param_groups
        if len(groups) != len(self._rates):
            self._learn()
        for group, share, cycled in zip(groups, self._shares, self._cycled):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(lr * share)
            else:
                group["lr"] = lr * share
            if not alone:
                group.update(cycled)

    def _learn(self) -> None:
        """See the groups that are new, which may be added as layers are unfrozen."""
        known = len(self._rates)
        groups = self.optimizer.param_groups[known:]
        made = [self._made_with.rate(self.optimizer, place) for place in range(known, known + len(groups))]
        self._rates += _own_rates(groups, made)
        self._cycled += [{key: group[key] for key in CYCLED if key in group} for group in groups]
        largest = max(self._rates, default=0.0)
        self._shares = [rate / largest if largest > 0 else 1.0 for rate in self._rates]


def facts_of(optimizer: Optimizer, rates: Sequence[float]) -> dict[str, Any]:
    """What the parent is told of an optimizer whose groups have these rates of their own."""
    groups = [
        {
            "name": None if group.get("name") is None else str(group["name"]),
            "parameters": sum(parameter.numel() for parameter in group["params"]),
            "lr": rate,
        }
        for group, rate in zip(optimizer.param_groups, rates)
    ]
    return {"name": type(optimizer).__name__, "groups": groups}


def _own_rates(groups: list[dict[str, Any]], made: list[float]) -> list[float]:
    """The groups' own rates: what a scheduler says, else what they were made with, else what they have now."""
    present = [float(group["lr"]) for group in groups]
    # a warm-up lowers the rate; where it is higher now, the program has set it since
    plain = made if max(made, default=0.0) >= max(present, default=0.0) else present
    rates = [_first(group, PEAKS) or rate for group, rate in zip(groups, plain)]
    is_scaled = len(set(present)) > 1 or not any(present)
    if len(set(rates)) == 1 and is_scaled:  # at every step, since the rates themselves are equal
        return [rate * (_first(group, SCALES) or 1.0) for group, rate in zip(groups, rates)]
    return rates


def _first(group: dict[str, Any], keys: tuple[str, ...]) -> float:
    """The first positive number that a group has under one of these keys; 0 if there is none."""
    return next((number for key in keys if (number := _positive(group.get(key)))), 0.0)


def _positive(value: Any) -> float:
    """A number or a tensor of one; 0 if it is anything else, or not positive."""
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        return 0.0
    return number if 0 < number < math.inf else 0.0
