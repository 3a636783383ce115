"""What a process tells of itself when it first meets the parent."""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

import torch
from torch.optim.optimizer import Optimizer

FRAMEWORKS = {
    "lightning": ("pytorch_lightning.trainer.trainer", "lightning.pytorch.trainer.trainer"),
    "transformers": ("transformers.trainer",),
}
"""The modules that a program has loaded if its training loop is that of a framework."""


def device_of(optimizer: Optimizer) -> torch.device:
    """The device of its first parameter; a group may have none."""
    devices = (parameter.device for group in optimizer.param_groups for parameter in group["params"])
    return next(devices, torch.device("cpu"))


def greeting(optimizer: Optimizer) -> dict[str, Any]:
    """Its place among the ranks, its device and its versions."""
    device = device_of(optimizer)
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        rank, world_size = distributed.get_rank(), distributed.get_world_size()
    return {
        "hello": 1,
        "pid": os.getpid(),
        "rank": rank,
        "world_size": world_size,
        "local_rank": int(os.environ.get("LOCAL_RANK", 0)),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "framework": next(
            (name for name, modules in FRAMEWORKS.items() if any(m in sys.modules for m in modules)), None
        ),
    }
