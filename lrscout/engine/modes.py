"""Modes that hold for a while: torch's process-wide switches, evaluation, and compilation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def backend_flags(deterministic: bool, cudnn_benchmark: bool | None) -> Iterator[None]:
    """Set torch's process-wide switches, and restore them on exit."""
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
    )
    try:
        if deterministic:
            # cuBLAS reads this when its handle is created; without it, deterministic mode raises on CUDA
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.deterministic = True
        if cudnn_benchmark is not None:
            torch.backends.cudnn.benchmark = cudnn_benchmark
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = before[2]
        torch.backends.cudnn.deterministic = before[3]


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into eval mode; restore the mode of every module on exit."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def compiled(model: torch.nn.Module) -> Iterator[None]:
    """Compile the model in place, so that a custom step that refers to it runs compiled too."""
    before = model._compiled_call_impl
    model.compile()
    try:
        yield
    finally:
        model._compiled_call_impl = before
