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

    seed: int = option(0, "Seeds Python, NumPy and torch, before build and before the first step.", at_least=0)
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps, xpu.")
    precision: Precision = option("fp32", "Autocast to this precision; fp16 comes with a gradient scaler.")
    optimizer: str | None = option(
        None,
        "A torch.optim class by its lower-case name (adamw, sgd, muon), where the target has no optimizer"
        f" of its own; {DEFAULT_OPTIMIZER} when not given.",
        metavar="NAME",
    )
    optimizer_arg: Mapping[str, Any] = option({}, "An argument of --optimizer; repeatable.")
    accumulate: int = option(1, "Micro-batches per optimizer step; their mean loss is recorded.", at_least=1)
    clip_norm: float | None = option(None, "Clip the gradient's norm to this (after unscaling).", above=0)
    clip_value: float | None = option(None, "Clip every gradient entry to this (after unscaling).", above=0)
    compile: bool = option(False, "Compile the model with torch.compile.")
    deterministic: bool = option(False, "Use deterministic algorithms only; slower.")
    cudnn_benchmark: bool | None = option(None, "Let cuDNN time its algorithms and keep the fastest.")
