"""The device to train on, and how to get there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrscout.engine.workload import Workload
from lrscout.errors import UsageError

AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str, workload: Workload) -> torch.device:
    """The device to train on; `auto` is the accelerator that the model is on, else any accelerator, else the CPU.

    Raises:
        UsageError: this machine has no such device.
    """
    if name == "auto":
        at = next((p.device for p in workload.model.parameters()), torch.device("cpu"))
        return at if at.type != "cpu" or spans_devices(workload) else _default_device()
    try:
        device = torch.device(name)
        if device.type != "cpu":
            torch.empty(1, device=device)  # the only check that works for all backends
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"--device {name} cannot be used: {reason}", hint="Try --device auto or cpu.") from error
    return torch.device("cpu") if device.type == "cpu" else device  # drop the index of cpu:0


def is_cpu(name: str) -> bool:
    """Whether the setting `device` means the CPU on this machine."""
    return name.partition(":")[0] == "cpu" or (name == "auto" and not device_count())


def _default_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.xpu.is_available():
        return torch.device("xpu")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_count() -> int:
    """The number of visible accelerators; 0 if there is only the CPU."""
    for backend in (torch.cuda, torch.xpu):
        if backend.is_available():
            return int(backend.device_count())
    return int(torch.backends.mps.is_available())


def device_for_worker(name: str, place: int) -> str:
    """The device for the worker with this number; unless `name` has an index, workers take the devices in turn."""
    count = device_count()
    if count < 2 or name not in ("auto", "cuda", "xpu"):
        return name
    backend = torch.cuda if torch.cuda.is_available() else torch.xpu
    backend.set_device(place % count)  # for user code that specifies no index
    return f"{'cuda' if backend is torch.cuda else 'xpu'}:{place % count}"


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Compute with `count` threads on the CPU, or with the current number if None; restore it on exit."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def spans_devices(workload: Workload) -> bool:
    """Whether the user has placed the model on several devices."""
    return len({p.device for p in workload.model.parameters()}) > 1


def move_optimizer_state(optimizer: Optimizer) -> None:
    """Move an optimizer's state to the devices of its parameters.

    As in `load_state_dict`, a step counter stays on the CPU unless the optimizer is capturable or fused.
    """
    for group in optimizer.param_groups:
        counter_moves = group.get("capturable") or group.get("fused")
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            for key, value in state.items():
                if isinstance(value, Tensor) and (key != "step" or counter_moves):
                    state[key] = value.to(parameter.device)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """What the forward passes of a training step in this precision are in."""
    if precision not in AUTOCAST_TYPES:
        return nullcontext()
    return torch.autocast(device.type, dtype=AUTOCAST_TYPES[precision])
