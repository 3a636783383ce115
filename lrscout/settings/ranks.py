"""The settings of a target that is trained on several ranks."""

from __future__ import annotations

from dataclasses import dataclass

from lrscout.settings.fields import option
from lrscout.settings.session import SessionSettings


@dataclass(frozen=True, kw_only=True)
class RanksSettings(SessionSettings):
    """How a target is trained on several ranks."""

    GROUP = "Step"

    nproc: int | None = option(
        None,
        "Train the target on so many ranks of this machine, one GPU each where there are any.",
        at_least=1,
        at_most=1024,
        only="target",
        instead="The command starts its ranks itself: -- torchrun --nproc-per-node 2 train.py.",
    )
    strategy: str | None = option(
        None,
        "How ranks share the training: ddp, a whole model on each, or fsdp, a part of every layer on each; by default"
        " ddp where there are several.",
        choices=("ddp", "fsdp"),
        only="target",
        instead="The command wraps its model itself.",
    )
