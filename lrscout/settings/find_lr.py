"""The settings of find-lr."""

from __future__ import annotations

from dataclasses import dataclass

from lrscout.errors import UsageError
from lrscout.search.suggestion import DEFAULT_RULE, RULES
from lrscout.settings.fields import option
from lrscout.settings.session import SessionSettings

SPACINGS = ("exponential", "linear")


@dataclass(frozen=True, kw_only=True)
class FindLrSettings(SessionSettings):
    """The settings of find-lr."""

    min_lr: float = option(1e-7, "The sweep's first learning rate.", above=0)
    max_lr: float = option(10.0, "The sweep's last learning rate.", above=0)
    steps: int = option(100, "Optimizer steps in the sweep.", at_least=3)
    spacing: str = option("exponential", "How the rate rises from step to step.", choices=SPACINGS)
    smoothing: float = option(0.9, "Weight of the past in the smoothed loss, 0 to below 1.", at_least=0, below=1)
    stop_factor: float = option(
        4.0,
        "Stop once the smoothed loss stands this many times its own fall (initial - best) above its best.",
        above=0,
    )
    early_stop: bool = option(True, "Stop where the loss diverges; without, only at a non-finite loss.")
    rule: str = option(DEFAULT_RULE, "The rule that gives the headline.", choices=tuple(RULES))
    val_batches: int = option(
        0, "Sweep the mean loss of this many fixed held-out batches instead of the training loss.", at_least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_lr >= self.max_lr:
            raise UsageError(
                f"--min-lr {self.min_lr:g} is not below --max-lr {self.max_lr:g}.",
                hint="A sweep rises from --min-lr to --max-lr.",
            )
