"""The environment of a run, for its record."""

from __future__ import annotations

import platform
from typing import Any

import torch

import lrscout
from lrscout.engine.rates import own_rates
from lrscout.engine.session import Session
from lrscout.engine.workload import groups_of


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
    }


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
