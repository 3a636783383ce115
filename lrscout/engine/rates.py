"""The learning rates of parameter groups: those that the user configured, and those of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


def own_rates(groups: Sequence[Mapping[str, Any]]) -> list[float]:
    """The learning rate that the user configured for every parameter group."""
    return [float(configured_rate(group)) for group in groups]


def configured_rate(group: Mapping[str, Any]) -> Any:
    """The learning rate that the user configured for a parameter group: a number or a tensor, unless it is a mistake.

    If a scheduler is attached, that is `initial_lr`, or `max_lr` under OneCycleLR, which begins at a 25th of it: the
    scheduler may have set the current rate to anything, even 0.
    """
    return next(group[key] for key in ("max_lr", "initial_lr", "lr") if key in group)


def ratios_of(groups: Sequence[Mapping[str, Any]]) -> list[float]:
    """The configured rate of every parameter group divided by the largest; all 1 if no rate is above 0."""
    rates = own_rates(groups)
    largest = max(rates, default=0.0)
    return [rate / largest for rate in rates] if largest > 0 else [1.0] * len(rates)


def set_rates(groups: Sequence[dict[str, Any]], ratios: Sequence[float], lr: float) -> None:
    """Set the rate of every parameter group to `lr` times its ratio."""
    for group, ratio in zip(groups, ratios):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr * ratio)
        else:
            group["lr"] = lr * ratio
