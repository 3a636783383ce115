"""The settings of a training step, which every command that trains has."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from lrscout.settings.command import CommandSettings
from lrscout.settings.fields import option

COMMON = ("seed", "device", "precision")  # what a recipe may set for all commands at once
Precision = Literal["fp32", "bf16", "fp16"]
DEFAULT_OPTIMIZER = "adamw"
PLAIN_STEP: Mapping[str, Any] = {"precision": "fp32", "accumulate": 1}


@dataclass(frozen=True, kw_only=True)
class SessionSettings(CommandSettings):
    """How a training step is made: the same for every command."""

    GROUP = "Step"

    seed: int = option(
        0, "Seed of Python, NumPy and torch, set before the target is built and before the first step.", at_least=0
    )
    device: str = option("auto", "Where to train: auto, cpu, cuda, cuda:1, mps or xpu.", only="target")
    precision: Precision | None = option(
        None,
        "Precision of autocast; fp16 uses a gradient scaler. By default fp32, or what the arguments of a Trainer say.",
        only="target",
    )
    optimizer: str | None = option(
        None,
        "Optimizer for a target that has none: a class of torch.optim by its lower-case name (adamw, sgd, muon);"
        f" by default {DEFAULT_OPTIMIZER}. Of several: its number, class or name, or all; with find-lr also each, for"
        " one after the other.",
        metavar="NAME",
        number_too=True,
    )
    optimizer_arg: Mapping[str, Any] = option({}, "Argument of --optimizer; repeatable.", only="target")
    accumulate: int | None = option(
        None,
        "Micro-batches per optimizer step; their mean loss is recorded. By default 1, or what the arguments of a"
        " Trainer say.",
        at_least=1,
        only="target",
    )
    clip_norm: float | None = option(
        None,
        "Clip the norm of the gradient to this value; by default what the arguments of a Trainer say.",
        above=0,
        only="target",
    )
    clip_value: float | None = option(
        None,
        "Clip every entry of the gradient to this value.",
        above=0,
        below=1e38,  # torch refuses what a gradient of single precision cannot hold
        only="target",
    )
    compile: bool = option(False, "Compile the model with torch.compile.", only="target")
    deterministic: bool = option(False, "Use only deterministic algorithms, which are slower.", only="target")
    cudnn_benchmark: bool | None = option(None, "Let cuDNN time its algorithms and use the fastest.", only="target")

    def with_own(self, own: Mapping[str, Any]) -> Self:
        """These settings, where what is not given is what the target's `own` say."""
        left = {name: value for name, value in {**PLAIN_STEP, **own}.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **left)
