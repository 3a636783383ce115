"""Somebody's training program as a search for a learning rate trains it: in its own loop, attached to its optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lrscout.errors import UsageError
from lrscout.processes.driving import AttachedSession
from lrscout.results import CommandTarget, LrRecord
from lrscout.runs.lr.in_turn import search_in_turn
from lrscout.runs.lr.observer import LrObserver
from lrscout.runs.lr.search import search_lr
from lrscout.runs.lr.trainer import ALONE, Scheduled, TrainingLength, length_of
from lrscout.runs.lr.work import WorkHere
from lrscout.runs.programs import (
    OnOutput,
    Program,
    chosen_optimizers,
    described,
    driven_together,
    environment_facts,
    takes_turns,
    target_facts,
)
from lrscout.runs.schedules import ProgramSchedule
from lrscout.schedules import ScheduleSpec
from lrscout.search.scout import HORIZON
from lrscout.settings import FindLrSettings
from lrscout.settings.optimizers import ALL, EACH

MARGIN = 2  # times the steps of a search, for the {steps} of a command, which must not end before the search does


def search_command(
    target: CommandTarget, settings: FindLrSettings, observer: LrObserver, on_output: OnOutput | None = None
) -> LrRecord:
    """Start a command, search a rate for each of its optimizers in turn, and end it.

    While one is searched for, the others go on at their own rates. `on_output` receives each line that the command
    prints, in another thread.

    Raises:
        LrscoutError: the command cannot be started, or not be attached to.
    """
    with Program(target, settings, on_output, restart=settings.restart) as program:
        found = program.start(**values_for(settings, settings.seed))
        if not takes_turns(found, settings.optimizer):
            chosen = chosen_optimizers(found, settings.optimizer)
            return search_lr(CommandTrainer(program, settings, chosen, settings.seed), settings, observer)
        return search_in_turn(_each(program, settings, len(found.optimizers)), settings, observer)


def _each(program: Program, settings: FindLrSettings, known: int) -> Iterator[tuple[int, WorkHere]]:
    """The optimizers of a program, some of which may take their first step during the search for another one."""
    for number in range(known):
        if not number or number in program.stepping:
            yield number, WorkHere(CommandTrainer(program, settings, (number,), settings.seed))


class CommandTrainer:
    """Trains the optimizers of these numbers inside a program."""

    def __init__(self, program: Program, settings: FindLrSettings, drive: Sequence[int], seed: int) -> None:
        self._program, self._settings, self.drive, self._seed = program, settings, tuple(drive), seed
        self._attached = found = program.start(**self._values)
        self.known = len(found.optimizers)  # at the first step
        self._optimizer = driven_together(found.optimizers, drive)
        self._told = found.warnings  # by a program of lrscout's own
        self.target: Mapping[str, Any] = target_facts(program.target, found, drive)
        self.environment: Mapping[str, Any] = environment_facts(program.target, found, drive)

    @property
    def warnings(self) -> tuple[str, ...]:
        if self._attached.program is not None:
            return self._told
        if self._settings.optimizer not in (None, ALL, EACH):
            return ()  # whoever names one asks for no other
        return tuple(late_optimizer(described(each)) for each in self._program.late)

    @property
    def reservation(self) -> str | None:
        return None if self._program.stepping.issubset(self.drive) else ALONE

    def length(self) -> TrainingLength:
        own = self._attached.program
        return length_of(self._settings, *((own.steps_per_epoch, own.length) if own is not None else (None, None)))

    def group_lrs(self, lr: float) -> tuple[float, ...]:
        return self._optimizer.group_lrs(lr)

    @contextmanager
    def sweep(self) -> Iterator[AttachedSession]:
        session = self._program.session(self.drive, **self._values)
        yield session
        self._told = tuple(dict.fromkeys((*self._attached.warnings, *session.warnings())))

    @contextmanager
    def probe(self, schedule: ScheduleSpec, peak: float, steps: int) -> Iterator[Scheduled]:
        with self.sweep() as session:
            yield Scheduled(session, ProgramSchedule(session, schedule, peak, steps))

    train = probe  # a program has no losses but those of its training

    def reseeded(self, seed: int) -> CommandTrainer:
        check_takes_seed(self._program.target)
        return CommandTrainer(self._program, self._settings, self.drive, seed)

    @property
    def _values(self) -> dict[str, int]:
        return values_for(self._settings, self._seed)


def late_optimizer(optimizer: str) -> str:
    """The warning about one that did not exist at the first step, whose state every sweep starts from."""
    return (
        f"{optimizer} was made after the first step, so no rate was searched for it. Make it before the first step, or"
        " search for its rate in a program of its own."
    )


def values_for(settings: FindLrSettings, seed: int) -> dict[str, int]:
    """What is put into the command: so many {steps} that no search reaches them, all of whose sweeps take some."""
    refining = settings.refine_budget.steps or 0 if settings.refine_budget is not None else 0
    return {"seed": seed, "steps": max(settings.horizon or HORIZON, MARGIN * (settings.most_steps + refining))}


def check_takes_seed(target: CommandTarget) -> None:
    """See that a command can be started with another seed.

    Raises:
        UsageError: it cannot.
    """
    if not target.takes("seed"):
        raise UsageError("--seeds needs {seed} in the command.", hint="For example: -- python train.py --seed {seed}")
