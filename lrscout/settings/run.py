"""The settings of run."""

from __future__ import annotations

from dataclasses import dataclass

from lrscout.schedules import check_without_averaging, parse_schedule
from lrscout.settings.command import LaunchSettings
from lrscout.settings.fields import LARGEST_RATE, option

DEFAULT_SCHEDULE = "cosine:warmup=0.05"  # the one that find-lr trains under for the peak of a decaying schedule


@dataclass(frozen=True, kw_only=True)
class RunSettings(LaunchSettings):
    """The settings of run. What is None comes from the record that it is given, if any."""

    GROUP = "Training"

    lr: float | None = option(
        None,
        "Peak rate of the parameter group with the largest one; the others keep their ratios to it.",
        above=0,
        below=LARGEST_RATE,
    )
    schedule: str | None = option(
        None,
        f"Schedule to train under, for example wsd:warmup=0.05; by default {DEFAULT_SCHEDULE}. `lrscout schedules`"
        " lists them.",
        flags=("--schedule", "-s"),
        metavar="NAME[:KEY=VALUE,...]",
    )
    steps: int | None = option(
        None, "Optimizer steps of the schedule; {steps} in the command stands for them.", at_least=1
    )
    optimizer: str | None = option(
        None,
        "Of several optimizers, the one to set the rate of: its number or its class; the others keep their own rates."
        " By default all, in the ratios of their own rates.",
        metavar="N|CLASS|all",
        number_too=True,
    )
    seed: int = option(0, "Number that {seed} in the command stands for.", at_least=0)
    timeout: float = option(600.0, "Seconds that the command may take to its first optimizer step.", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule is not None:
            check_without_averaging([parse_schedule(self.schedule)])
