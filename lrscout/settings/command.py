"""The settings of a training command, which every command that starts one has."""

from __future__ import annotations

from dataclasses import dataclass

from lrscout.settings.fields import Settings, option


@dataclass(frozen=True, kw_only=True)
class CommandSettings(Settings):
    """How a training command is started and watched."""

    timeout: float = option(
        600.0,
        "Seconds that a training command may take to its first optimizer step, and then from one step to the next.",
        above=0,
        only="command",
    )
    keep_environment: bool = option(
        False, "Leave loggers that upload (wandb, comet, mlflow) switched on in a training command.", only="command"
    )
    listen: str | None = option(
        None,
        "Address of this machine, where ranks of a training command on other machines reach lrscout; its files must"
        " lie in a folder that they share.",
        metavar="HOST[:PORT]",
        only="command",
    )
