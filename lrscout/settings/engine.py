"""The settings of the engine, which performs what does not depend on each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from lrscout.errors import UsageError
from lrscout.settings.fields import Settings, option

Engine = Literal["here", "ray"]


@dataclass(frozen=True, kw_only=True)
class EngineSettings(Settings):
    """Where independent trainings take place."""

    GROUP = "Engine"

    engine: Engine = option(
        "here", "Where independent trainings take place: here, on this machine, or on the nodes of a Ray cluster."
    )
    ray_address: str | None = option(
        None,
        "Ray cluster to use: auto, for the one that runs on this machine or that RAY_ADDRESS names, or the address of"
        " its head node; by default one is started on this machine.",
        metavar="auto|HOST:PORT",
    )
    cpus_per_run: float = option(1.0, "CPU cores that Ray keeps free for a training.", above=0)
    gpus_per_run: float | None = option(
        None,
        "GPUs that Ray keeps free for a training; 0.25 lets four share one. By default 1 where the cluster has any.",
        at_least=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.engine != "ray" and (self.ray_address is not None or self.gpus_per_run is not None):
            flag = "--ray-address" if self.ray_address is not None else "--gpus-per-run"
            raise UsageError(f"{flag} is for --engine ray.", hint="Add --engine ray, or leave it out.")
        if self.gpus_per_run is not None and self.gpus_per_run > 1 and self.gpus_per_run % 1:
            raise UsageError(
                f"--gpus-per-run {self.gpus_per_run:g} must be a whole number, or less than 1 to share a GPU."
            )


@dataclass(frozen=True, kw_only=True)
class JobsSettings(EngineSettings):
    """How many independent trainings of one command take place at the same time."""

    GROUP = "Engine"

    jobs: str = option(
        "1", "Independent trainings at the same time, each in its own process.", metavar="N|auto", number_too=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.jobs != "auto" and not re.fullmatch("[1-9][0-9]{0,3}", self.jobs):
            raise UsageError(f"--jobs {self.jobs} must be auto or a number of at least 1.")
        if self.engine == "ray" and self.jobs not in ("1", "auto"):
            raise UsageError(
                f"--jobs {self.jobs} is for --engine here.",
                hint="Ray makes as many runs at a time as its nodes hold: --cpus-per-run and --gpus-per-run set that.",
            )

    @property
    def is_here(self) -> bool:
        """Whether all trainings take place in this process."""
        return self.engine == "here" and self.jobs == "1"


ENGINE: tuple[str, ...] = ("engine", "ray_address", "cpus_per_run", "gpus_per_run")
"""What says where trainings take place, and nothing about their results."""
