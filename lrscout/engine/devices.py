"""Where to train: the device that was asked for, and the way there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
    return torch.device("cpu") if device.type == "cpu" else device  # cpu:0 is no accelerator


def is_cpu(name: str) -> bool:
    """Whether a device of this name, as the settings have it, is the CPU here."""
    return name.partition(":")[0] == "cpu" or (name == "auto" and not device_count())


def _accelerator() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.xpu.is_available():
        return torch.device("xpu")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_count() -> int:
    """The accelerators that are visible here; 0 where there is only the CPU."""
    for backend in (torch.cuda, torch.xpu):
        if backend.is_available():
            return int(backend.device_count())
    return int(torch.backends.mps.is_available())


def cpu_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_of(name: str, place: int) -> str:
    """The device of the worker in this place: round robin over what is visible, where no certain one was named."""
    count = device_count()
    if count < 2 or name not in ("auto", "cuda", "xpu"):
        return name
    backend = torch.cuda if torch.cuda.is_available() else torch.xpu
    backend.set_device(place % count)  # for user code that names no index
    return f"{'cuda' if backend is torch.cuda else 'xpu'}:{place % count}"


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads on the CPU; None leaves them alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
