"""The settings of tune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrscout.errors import UsageError, did_you_mean
from lrscout.schedules import check_without_averaging, parse_schedule, parse_schedules
from lrscout.settings.engine import EngineSettings
from lrscout.settings.fields import Kind, option
from lrscout.settings.quantities import seconds
from lrscout.settings.session import SessionSettings

STAGES = ("check", "batch-size", "lr", "schedule")
"""What can be left out, in order."""


def check_stage(name: Any) -> Any:
    """The name of a stage.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in STAGES:
        raise UsageError(f"--skip {name!r} is none of the stages.", hint=did_you_mean(str(name), STAGES))
    return name


@dataclass(frozen=True, kw_only=True)
class TuneSettings(EngineSettings, SessionSettings):
    """The settings of tune. Those that a stage has too are handed on to it; its others come from its own section."""

    GROUP = "Stages"

    budget: str | None = option(
        None,
        "Time for all stages together, for example 15m; without it, each takes what it takes by itself.",
        metavar="TIME",
        number_too=True,
    )
    skip: Sequence[str] = option(
        (), f"Stage to leave out: {', '.join(STAGES)}; repeatable.", metavar="STAGE", item=check_stage
    )
    memory: str | None = option(
        None,
        "Memory that a training step may take: 11GiB, or 80% of what is free; by default all that is free.",
        metavar="AMOUNT",
        amount="an amount of memory with its unit, such as 11GiB",
    )
    horizon: int | None = option(
        None, "Optimizer steps of the real training, since longer ones need a lower rate.", at_least=1
    )
    schedules: Sequence[str | Mapping[str, Any]] = option(
        (),
        "Schedule to compare, for example one-cycle:pct_start=0.2; repeatable.",
        flags=("--schedule", "-s"),
        metavar="NAME[:KEY=VALUE,...][+swa]",
        item=parse_schedule,
    )
    seeds: int | None = option(None, "Scored runs per schedule, each with its own seed.", at_least=1)
    jobs: str | None = option(
        None, "Runs of the comparison at the same time, each in its own process.", metavar="N|auto", number_too=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.budget_seconds
        for name in self.skip:
            check_stage(name)
        if set(self.skip) == set(STAGES):
            raise UsageError("--skip leaves no stage.", hint=f"The stages are {', '.join(STAGES)}.")

    def check_for(self, kind: Kind) -> None:
        """See that weights are averaged only where they are at hand."""
        if kind != "target":
            check_without_averaging(parse_schedules(self.schedules), on_ranks=kind == "ranks")

    @property
    def budget_seconds(self) -> float | None:
        """The budget in seconds."""
        return None if self.budget is None else seconds(self.budget, "--budget", "For example 90s, 15m or 1h.")
