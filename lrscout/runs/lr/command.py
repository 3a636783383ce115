"""Somebody's training program as a search for a learning rate trains it: in its own loop, attached to its optimizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lrscout
from lrscout.errors import UsageError
from lrscout.processes.command import AttachedCommand
from lrscout.processes.driving import AttachedSession
from lrscout.results import CommandTarget
from lrscout.runs.lr.trainer import Scheduled, TrainingLength
from lrscout.schedules import ScheduleSpec
from lrscout.search.scout import HORIZON
from lrscout.settings import FindLrSettings, SessionSettings, fields_of

THE_PROGRAMS_OWN = frozenset(field.name for field in fields_of(SessionSettings)) - {"seed"} | {"val_batches"}
"""Settings of a training step, which the program decides itself."""


@contextmanager
def attached(
    target: CommandTarget, settings: FindLrSettings, on_output: Callable[[str], None] | None = None
) -> Iterator[CommandTrainer]:
    """Start a command, and attach to the optimizer in it; nothing of it runs afterwards.

    `on_output` receives each line that it prints, in another thread.

    Raises:
        UsageError: the settings ask for what only the program itself can decide.
        LrscoutError: the command cannot be started, or not be attached to.
    """
    _check(settings)
    with AttachedCommand(target.command, cwd=target.cwd, on_output=on_output) as command:
        yield CommandTrainer(command, target, settings)


class CommandTrainer:
    """Trains inside a running program, whose state is put back before every session but the first."""

    def __init__(self, command: AttachedCommand, target: CommandTarget, settings: FindLrSettings) -> None:
        self._settings = settings
        self._attachment = found = command.attach()
        self._session = command.session()
        self._used = False  # whether a session has changed its state
        self._optimizer = found.optimizers[0]
        groups = [dataclasses.asdict(group) for group in self._optimizer.groups]
        self.target: Mapping[str, Any] = {
            **target.as_dict(),
            "ranks": found.ranks,
            "optimizer": self._optimizer.name,
            "groups": groups,
        }
        self.environment: Mapping[str, Any] = {
            "lrscout": lrscout.__version__,
            "torch": found.torch,
            "python": found.python,
            "device": found.device,
            "device_name": found.device_name,
            "threads": found.threads,
            "optimizer": f"{self._optimizer.name} (the program's own)",
            "trainable_parameters": sum(group.parameters for group in self._optimizer.groups),
            "groups": groups,
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        names = [optimizer.name for optimizer in self._attachment.optimizers]
        if len(names) < 2:
            return ()
        return (f"The program has {len(names)} optimizers ({', '.join(names)}); this rate is for the first.",)

    def length(self) -> TrainingLength:
        settings = self._settings
        if settings.epochs is not None:
            raise UsageError(
                "--epochs cannot be used with a command, whose epochs have an unknown length.",
                hint="Give the length in optimizer steps: --horizon N.",
            )
        return TrainingLength(settings.horizon or HORIZON, None)

    def group_lrs(self, lr: float) -> tuple[float, ...]:
        return self._optimizer.group_lrs(lr)

    @contextmanager
    def sweep(self) -> Iterator[AttachedSession]:
        if self._used:
            self._session.restore()
        self._used = True
        yield self._session

    @contextmanager
    def probe(self, schedule: ScheduleSpec, peak: float, steps: int) -> Iterator[Scheduled]:
        with self.sweep() as session:
            yield Scheduled(session, _RemoteSchedule(session, schedule, peak, steps))

    train = probe  # a program has no losses but those of its training

    def reseeded(self, seed: int) -> CommandTrainer:
        raise UsageError("--seeds cannot be used with a command so far.", hint="Run lrscout once for each seed.")


class _RemoteSchedule:
    """Sets the rates in the program by a built-in schedule."""

    needs_metric = False

    def __init__(self, session: AttachedSession, spec: ScheduleSpec, peak: float, total: int) -> None:
        self._session, self._spec, self._peak, self._total = session, spec, peak, total

    def before_step(self, step: int) -> float:
        lr = self._peak * self._spec(step, self._total)
        self._session.set_lr(lr)
        return lr

    def after_evaluation(self, metric: float) -> None:
        pass


def _check(settings: FindLrSettings) -> None:
    for field in fields_of(FindLrSettings):
        if field.name in THE_PROGRAMS_OWN and getattr(settings, field.name) != field.default:
            raise UsageError(
                f"{field.flag} cannot be used with a command: the program makes its own steps.",
                hint="Put the option into the command, if the program has one.",
            )
    if settings.seeds > 1:
        raise UsageError("--seeds cannot be used with a command so far.", hint="Run lrscout once for each seed.")
