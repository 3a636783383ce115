"""The settings of a training command, which every command of lrscout's that starts one has."""

from __future__ import annotations

from dataclasses import dataclass

from lrscout.settings.fields import Settings, option

COMMAND_TIMEOUT = 600.0  # seconds


@dataclass(frozen=True, kw_only=True)
class LaunchSettings(Settings):
    """How a training command is started."""

    GROUP = "Target"

    timeout: float | None = option(
        None,
        "Seconds to the first optimizer step, and then from one step to the next, after which the run is given up; by"
        f" default {COMMAND_TIMEOUT:g} for a training command, and no limit for a target.",
        above=0,
    )
    listen: str | None = option(
        None,
        "Address of this machine, where ranks of a training command on other machines reach lrscout; its files must"
        " lie in a folder that they share.",
        metavar="HOST[:PORT]",
        only="command",
    )

    @property
    def command_timeout(self) -> float:
        """The limit for a training command."""
        return COMMAND_TIMEOUT if self.timeout is None else self.timeout


@dataclass(frozen=True, kw_only=True)
class CommandSettings(LaunchSettings):
    """How a search starts a training command, which it ends when it has seen enough."""

    GROUP = "Target"

    keep_environment: bool = option(
        False, "Leave loggers that upload (wandb, comet, mlflow) switched on in a training command.", only="command"
    )
