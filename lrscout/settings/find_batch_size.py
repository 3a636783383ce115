"""The settings of find-batch-size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lrscout.errors import UsageError
from lrscout.search.batch_size import MODES
from lrscout.search.goodput import MEMORY, OBJECTIVES
from lrscout.settings.fields import option
from lrscout.settings.quantities import friendly_step, memory_bytes, seconds, share
from lrscout.settings.ranks import RanksSettings


@dataclass(frozen=True, kw_only=True)
class FindBatchSizeSettings(RanksSettings):
    """The settings of find-batch-size."""

    GROUP = "Trials"

    mode: str | None = option(
        None, "How sizes are chosen; by default fit if memory is the limit, else power.", choices=tuple(MODES)
    )
    batch_arg: str = option(
        "batch_size",
        "Argument of the target that sets its batch size; a target without it has its DataLoader rebuilt.",
        metavar="NAME",
        only="target",
        instead="Put {batch_size} into the command, where the program takes its batch size.",
    )
    min: int = option(1, "Smallest size to try.", at_least=1)
    max: int | None = option(None, "Largest size to try; 8192 on the CPU without --budget.", at_least=1)
    budget: str | None = option(
        None,
        "Memory that a training step may take: 11GiB, or 80% of what is free; by default all that is free.",
        metavar="AMOUNT",
        amount="an amount of memory with its unit, such as 11GiB",
    )
    margin: str = option("5%", "Share of the budget to keep free.", metavar="SHARE")
    resolution: str | None = option(
        None,
        "Precision of the largest size, as a share of it; by default 2% with fit, one sample with binsearch.",
        metavar="SHARE",
    )
    objective: str = option(
        "time",
        "What to recommend a size for: the least time or the fewest samples to the same loss, or the most memory.",
        choices=(*OBJECTIVES, MEMORY),
    )
    statistics: bool = option(
        True,
        "Measure the noise of the gradients, which tells from which size on a larger batch teaches little more. Without"
        " it, the size with the highest throughput is taken for the one that trains fastest.",
    )
    time_budget: str | None = option(
        None,
        "Time for the noise and for timing sizes in turn, after the trials, for example 2m; by default as long as the"
        " trials took, but at least 10 s.",
        metavar="TIME",
        number_too=True,
    )
    find_lr: bool = option(
        False, "Measure the learning rate at the recommended size, as lrscout find-lr does, instead of scaling it."
    )
    trial_steps: int = option(3, "Training steps of a trial before its steps are timed.", at_least=1)
    timeout: float = option(300.0, "Seconds that a trial may take, with its start.", above=0)
    isolate: Literal["auto", "always", "never"] = option(
        "auto",
        "Run each trial in a new process (always), all in this one (never), or as suits the device (auto).",
        only="target",
        instead="Every trial of a command starts it anew.",
    )
    worst_case: Literal["auto", "off"] = option(
        "auto",
        "If samples differ in length, fill the batches with the longest of them.",
        only="target",
        instead="The batches are the program's own: sort its data by length for a search, if it can.",
    )
    workers: str | None = option(
        None,
        "Find the num_workers that feeds the step at the recommended size: 0, 1, 2, 4, up to the cores (auto).",
        choices=("auto",),
        only="target",
        instead="The program makes its own loader: put its option for num_workers into the command, if it has one.",
    )
    eval: bool = option(False, "Search the batch size of evaluation too, which needs no gradients.", only="target")
    effective_batch_size: int | None = option(
        None, "Show how to reach this size with accumulation and several processes.", at_least=1
    )
    prefer: str | None = option(
        None,
        "Round the answer down, for example multiple-of-8; by default the next lower power of two is offered too.",
        metavar="multiple-of-N",
    )
    cache: bool = option(
        False, "Reuse the answer of an earlier run with the same source, settings, device and torch.", only="target"
    )
    dry_run: bool = option(
        False, "Estimate the largest size for --budget from tensor shapes, without running a step.", only="target"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max is not None and self.max < self.min:
            raise UsageError(
                f"--max {self.max} must not be below --min {self.min}.", hint="Sizes go from --min up to --max."
            )
        if self.budget is not None:
            memory_bytes(self.budget, available=1 << 60)
        if self.dry_run and (self.budget is None or self.budget.endswith("%")):
            raise UsageError(
                "--dry-run needs a --budget.",
                hint="Give the memory of the device that you will train on, for example --budget 24GiB.",
            )
        _ = self.time_budget_seconds
        measures = "--find-lr" if self.find_lr else f"--workers {self.workers}" if self.workers is not None else None
        if self.dry_run and measures is not None:
            raise UsageError(
                f"--dry-run runs no step, so {measures} has nothing to measure.", hint="Leave out one of them."
            )
        share(self.margin, "--margin")
        if self.resolution is not None:
            share(self.resolution, "--resolution")
        friendly_step(self.prefer)

    @property
    def time_budget_seconds(self) -> float | None:
        """The time budget in seconds."""
        if self.time_budget is None:
            return None
        return seconds(self.time_budget, "--time-budget", "For example 30s or 2m.")
