"""The settings of find-batch-size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lrscout.errors import UsageError
from lrscout.search.batch_size import MODES
from lrscout.settings.fields import option
from lrscout.settings.quantities import friendly_step, memory_bytes, share
from lrscout.settings.session import SessionSettings


@dataclass(frozen=True, kw_only=True)
class FindBatchSizeSettings(SessionSettings):
    """The settings of find-batch-size."""

    mode: str | None = option(
        None, "How sizes are chosen; by default fit where memory is the limit, else power.", choices=tuple(MODES)
    )
    batch_arg: str = option(
        "batch_size",
        "The target's argument that sets its batch size; without such an argument its DataLoader is rebuilt.",
        metavar="NAME",
    )
    min: int = option(1, "The smallest size to try.", at_least=1)
    max: int | None = option(None, "The largest size to try; 8192 on the CPU without --budget.", at_least=1)
    budget: str | None = option(
        None,
        "What a training step may take, as 11GiB or 80% of what is free; by default all that is free.",
        metavar="AMOUNT",
    )
    margin: str = option("5%", "The share of the budget that stays free.", metavar="SHARE")
    resolution: str | None = option(
        None,
        "How near to the limit, as a share of the size; by default 2% with fit, one sample with binsearch.",
        metavar="SHARE",
    )
    trial_steps: int = option(3, "Training steps of a trial before it is timed.", at_least=1)
    timeout: float = option(300.0, "Seconds that one trial may take.", above=0)
    isolate: Literal["auto", "always", "never"] = option(
        "auto", "A process per trial (always), this process for all (never), or what suits the device (auto)."
    )
    worst_case: Literal["auto", "off"] = option(
        "auto", "If samples differ in length, fill the batches with the longest of them."
    )
    eval: bool = option(False, "Search the batch size of evaluation too, without gradients.")
    effective_batch_size: int | None = option(
        None, "Show how to reach this size by accumulation and processes.", at_least=1
    )
    prefer: str | None = option(
        None,
        "Round sizes down, as in multiple-of-8; by default the power of two below is offered too.",
        metavar="multiple-of-N",
    )
    cache: bool = option(False, "Take the answer of an earlier run on the same source, device and torch.")
    dry_run: bool = option(False, "Estimate from shapes alone, for the memory of --budget; nothing is run.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max is not None and self.max < self.min:
            raise UsageError(f"--max {self.max} is below --min {self.min}.", hint="Sizes go from --min to --max.")
        if self.budget is not None:
            memory_bytes(self.budget, available=1 << 60)
        if self.dry_run and (self.budget is None or self.budget.endswith("%")):
            raise UsageError("--dry-run needs to know for how much memory.", hint="Give it, as --budget 24GiB.")
        share(self.margin, "--margin")
        if self.resolution is not None:
            share(self.resolution, "--resolution")
        friendly_step(self.prefer)
