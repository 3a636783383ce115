"""Where to train: the device that was asked for, and the way there."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrscout.engine.workload import Workload
from lrscout.errors import UsageError


def resolve_device(name: str, workload: Workload) -> torch.device:
    """The device to train on; `auto` is where the model already is, else the accelerator, else the CPU.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        at = next((p.device for p in workload.model.parameters()), torch.device("cpu"))
        return at if at.type != "cpu" or is_spread(workload) else _accelerator()
    try:
        device = torch.device(name)
        if device.type != "cpu":
            torch.empty(1, device=device)  # the only check that all backends share
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"--device {name} cannot be used: {reason}", hint="Try --device auto or cpu.") from error
    return device


def _accelerator() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.xpu.is_available():
        return torch.device("xpu")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def is_spread(workload: Workload) -> bool:
    """Whether the user has placed the model on several devices."""
    return len({p.device for p in workload.model.parameters()}) > 1


def move_state(optimizer: Optimizer) -> None:
    """Bring an optimizer's state to where its parameters are; counters of steps stay, as in `load_state_dict`."""
    for group in optimizer.param_groups:
        counts_there = group.get("capturable") or group.get("fused")
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            for key, value in state.items():
                if isinstance(value, Tensor) and (key != "step" or counts_there):
                    state[key] = value.to(parameter.device)
