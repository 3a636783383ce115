"""What a run ran on, for its record."""

from __future__ import annotations

import platform
from typing import Any

import torch

import lrscout
from lrscout.engine.session import Session, own_rates


def describe_environment(session: Session) -> dict[str, Any]:
    """Versions, device and optimizer, in plain values."""
    parameters = sum(p.numel() for p in session.workload.model.parameters() if p.requires_grad)
    return {
        "lrscout": lrscout.__version__,
        "torch": str(torch.__version__),  # a plain text, which can be read without torch
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(session.device),
        "device_name": _device_name(session.device),
        "threads": torch.get_num_threads(),
        "optimizer": session.optimizer_name,
        "trainable_parameters": parameters,
        "groups": _groups(session),
    }


def _groups(session: Session) -> list[dict[str, Any]]:
    """The name, if it has one, the parameters and the own rate of every parameter group, in the optimizers' order."""
    groups = [group for optimizer in session.optimizers for group in optimizer.param_groups]
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
