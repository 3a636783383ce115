"""A training command as runs use it: started as often as they need, with its optimizers chosen and described."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import lrscout
from lrscout.errors import UsageError
from lrscout.processes.command import AttachedCommand
from lrscout.processes.driving import AttachedSession
from lrscout.processes.ranks import Attachment, OptimizerFacts
from lrscout.results import PLACEHOLDERS, CommandTarget, TargetOnRanks
from lrscout.settings import CommandSettings, LaunchSettings
from lrscout.settings.optimizers import EACH, chosen_numbers

OnOutput = Callable[[str], None]
"""Receives each line that a command prints, in another thread."""


class Program:
    """A training command that sessions run in, one at a time; a context manager, after which nothing of it runs.

    A session starts from the first optimizer step's state: that of the running program, put back, or of a new one
    where other values are asked for, or `restart`.
    """

    def __init__(
        self,
        target: CommandTarget,
        settings: CommandSettings,
        on_output: OnOutput | None = None,
        *,
        restart: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.target, self._settings, self._on_output, self._restart = target, settings, on_output, restart
        self._environment = environment or {}
        self._values: Mapping[str, int] = {}
        self._command: AttachedCommand | None = None
        self._attachment: Attachment | None = None
        self._session: AttachedSession | None = None

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, **values: int) -> Attachment:
        """Start the command with these values for its placeholders, unless it is running with them.

        Raises:
            LrscoutError: it cannot be started, or not be attached to.
        """
        if self._attachment is None or values != self._values:
            self.close()
            self._values = values
            self._command = start_command(
                self.target, self._settings, values, self._on_output, environment=self._environment
            )
            self._on_output = None  # what another start prints is the same again
            self._attachment = self._command.attach(keep=not self._restart)
        return self._attachment

    def session(self, drive: Sequence[int], **values: int) -> AttachedSession:
        """A session that drives the optimizers of these numbers, from the first step's state."""
        if self._session is not None and self._restart:
            self.close()
        self.start(**values)
        assert self._command is not None
        if self._session is not None:
            self._session.restore()
        self._session = self._command.session(*drive)
        return self._session

    @property
    def stepping(self) -> frozenset[int]:
        """The numbers of the optimizers that have taken steps in the command, which may have ended."""
        return frozenset() if self._command is None else self._command.stepping

    @property
    def late(self) -> tuple[OptimizerFacts, ...]:
        """The optimizers that were made after the first step, and step."""
        return () if self._command is None else self._command.late

    def close(self) -> None:
        """End the command."""
        if self._command is not None:
            self._command.close()
        self._attachment = self._session = None


class StartOptions(TypedDict, total=False):
    """What AttachedCommand takes beside a command's settings."""

    environment: Mapping[str, str]
    patience: float
    measured: tuple[str, int | None] | None
    on_wait: Callable[[], None]


def start_command(
    target: CommandTarget,
    settings: LaunchSettings,
    values: Mapping[str, int],
    on_output: OnOutput | None = None,
    **options: Unpack[StartOptions],
) -> AttachedCommand:
    """Start a training command with values for its placeholders.

    Raises:
        UsageError: it cannot be started, or has a placeholder that has no value here.
    """
    for name in PLACEHOLDERS:
        if name not in values and target.takes(name):
            raise UsageError(
                f"There is no value for {{{name}}} here.", hint=f"Put a number into the command in place of {{{name}}}."
            )
    # a real training has its loggers on, and may save over what it likes
    keep, since = (settings.keep_environment, target.since) if isinstance(settings, CommandSettings) else (True, None)
    return AttachedCommand(
        target.filled(**values),
        cwd=target.cwd,
        timeout=settings.command_timeout,
        keep_environment=keep,
        since=since,
        listen=settings.listen,
        on_output=on_output,
        subject=target.subject,
        **options,
    )


def on_this_node(target: CommandTarget) -> CommandTarget:
    """A command in the folder that it has here; a copy on a node has the user's files, although they are new."""
    if os.path.isabs(target.cwd):
        return target
    # lrscout's own program has the Python of the node, too
    command = (sys.executable, *target.command[1:]) if isinstance(target, TargetOnRanks) else target.command
    return dataclasses.replace(target, command=command, cwd=os.getcwd(), since=time.time())


def chosen_optimizers(found: Attachment, wanted: str | None) -> tuple[int, ...]:
    """The numbers of the optimizers that --optimizer names, counted from 0; without it, all.

    A program of lrscout's own that has the same option has chosen them itself: it knows them by more names.

    Raises:
        UsageError: there is no such optimizer, or there are several of that class.
    """
    if found.program is not None and wanted in (None, found.program.wanted):
        return found.program.driven
    known = [(each.name,) for each in found.optimizers]
    return chosen_numbers(known, [described(each) for each in found.optimizers], wanted, "The program")


def described(optimizer: OptimizerFacts) -> str:
    """An optimizer in a few words."""
    values = sum(group.parameters for group in optimizer.groups)
    return f"{optimizer.name} of {values:,} parameters"


def takes_turns(found: Attachment, wanted: str | None) -> bool:
    """Whether a rate is searched for each optimizer in turn: in somebody's program, unless --optimizer says otherwise.

    Those of a target are driven by one multiplier, as in one process.
    """
    return wanted == EACH or (wanted is None and found.program is None)


def target_facts(target: CommandTarget, found: Attachment, drive: Sequence[int]) -> dict[str, Any]:
    """What is trained, for the record."""
    optimizer = driven_together(found.optimizers, drive)
    return {
        **target.as_dict(),
        "ranks": found.ranks,
        "optimizer": optimizer.name,
        "groups": [dataclasses.asdict(group) for group in optimizer.groups],
    }


def environment_facts(target: CommandTarget, found: Attachment, drive: Sequence[int]) -> dict[str, Any]:
    """Versions, device, optimizer and parameter groups, for the record."""
    if found.program is not None and tuple(drive) == found.program.driven:
        return dict(found.program.environment)
    optimizer = driven_together(found.optimizers, drive)
    owner = "" if isinstance(target, TargetOnRanks) else " (the program's own)"
    return {
        "lrscout": lrscout.__version__,
        "torch": found.torch,
        "python": found.python,
        "device": found.device,
        "device_name": found.device_name,
        "threads": found.threads,
        **({} if found.framework is None else {"framework": found.framework}),
        "optimizer": f"{optimizer.name}{owner}",
        "trainable_parameters": sum(group.parameters for group in optimizer.groups),
        "groups": [dataclasses.asdict(group) for group in optimizer.groups],
    }


def driven_together(optimizers: Sequence[OptimizerFacts], drive: Sequence[int]) -> OptimizerFacts:
    """Optimizers that are driven by one multiplier, as one with the groups of all; the first one leads."""
    chosen = [optimizers[number] for number in drive]
    if len(chosen) == 1:
        return chosen[0]
    name = " and ".join(each.name for each in chosen)
    return OptimizerFacts(name, tuple(group for each in chosen for group in each.groups))
