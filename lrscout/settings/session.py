"""The settings of a training step, which every command that trains has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lrscout.settings.fields import Settings, option

Precision = Literal["fp32", "bf16", "fp16"]
DEFAULT_OPTIMIZER = "adamw"


@dataclass(frozen=True, kw_only=True)
class SessionSettings(Settings):
    """How a training step is made: the same for every command."""

    seed: int = option(
        0, "Seed of Python, NumPy and torch, set before the target is built and before the first step.", at_least=0
    )
    device: str = option("auto", "Where to train: auto, cpu, cuda, cuda:1, mps or xpu.")
    precision: Precision = option("fp32", "Precision of autocast; fp16 uses a gradient scaler.")
    optimizer: str | None = option(
        None,
        "Optimizer for a target that has none: a class of torch.optim by its lower-case name (adamw, sgd, muon);"
        f" by default {DEFAULT_OPTIMIZER}.",
        metavar="NAME",
    )
    optimizer_arg: Mapping[str, Any] = option({}, "Argument of --optimizer; repeatable.")
    accumulate: int = option(1, "Micro-batches per optimizer step; their mean loss is recorded.", at_least=1)
    clip_norm: float | None = option(None, "Clip the norm of the gradient to this value.", above=0)
    clip_value: float | None = option(None, "Clip every entry of the gradient to this value.", above=0)
    compile: bool = option(False, "Compile the model with torch.compile.")
    deterministic: bool = option(False, "Use only deterministic algorithms, which are slower.")
    cudnn_benchmark: bool | None = option(None, "Let cuDNN time its algorithms and use the fastest.")
