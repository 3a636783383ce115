"""The environment of a run, for its record."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer

import lrscout
from lrscout.engine.rates import own_rates
from lrscout.engine.session import Session
from lrscout.engine.workload import groups_of

PLAIN = (bool, int, float, str, tuple, type(None))  # what a record can hold and Python can be given again


def describe_environment(session: Session) -> dict[str, Any]:
    """Versions, device, optimizer and parameter groups, as plain values."""
    parameters = sum(p.numel() for p in session.workload.model.parameters() if p.requires_grad)
    return {
        "lrscout": lrscout.__version__,
        "torch": str(torch.__version__),  # a plain str: unpickling a TorchVersion would import torch
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(session.device),
        "device_name": _device_name(session.device),
        "threads": torch.get_num_threads(),
        "optimizer": session.optimizer_name,
        "trainable_parameters": parameters,
        "groups": _describe_groups(session),
        **_optimizer_arguments(session.optimizers),
    }


def _optimizer_arguments(optimizers: Sequence[Optimizer]) -> dict[str, Any]:
    """What a single optimizer was made with beside its rate, where that differs from what its class does by itself."""
    if len(optimizers) != 1:
        return {}
    declared = inspect.signature(type(optimizers[0])).parameters
    given = {
        name: value
        for name, value in optimizers[0].defaults.items()
        if name != "lr" and name in declared and isinstance(value, PLAIN) and value != declared[name].default
    }
    return {"optimizer_arguments": given}


def _describe_groups(session: Session) -> list[dict[str, Any]]:
    """The name (if any), the number of parameters and the configured rate of every parameter group, in order."""
    groups = groups_of(session.optimizers)
    return [
        {
            "name": str(group["name"]) if group.get("name") is not None else None,
            "parameters": sum(parameter.numel() for parameter in group["params"]),
            "lr": rate,
        }
        for group, rate in zip(groups, own_rates(groups))
    ]


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.machine()
