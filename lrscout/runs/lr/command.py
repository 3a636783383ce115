"""Somebody's training program as a search for a learning rate trains it: in its own loop, attached to its optimizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lrscout.errors import UsageError
from lrscout.processes.driving import AttachedSession
from lrscout.results import CommandTarget, LrRecord, OptimizerResult, SweepPoint, TrainingPoint
from lrscout.runs.lr.observer import LrObserver
from lrscout.runs.lr.search import search_lr
from lrscout.runs.lr.trainer import Scheduled, TrainingLength
from lrscout.runs.programs import (
    OnOutput,
    Program,
    chosen_optimizers,
    driven_together,
    environment_facts,
    target_facts,
)
from lrscout.runs.schedules import ProgramSchedule
from lrscout.schedules import ScheduleSpec
from lrscout.search.scout import HORIZON
from lrscout.settings import FindLrSettings

ALONE = "the program's other optimizers kept their own rates meanwhile"
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
        chosen = chosen_optimizers(program.start(**values_for(settings, settings.seed)).optimizers, settings.optimizer)
        if settings.optimizer is not None:
            record = search_lr(CommandTrainer(program, settings, chosen, settings.seed), settings, observer)
            return doubted(record) if len(chosen) < len(program.stepping) else record
        record = search_lr(CommandTrainer(program, settings, (0,), settings.seed), settings, observer)
        number = 1
        while record.status != "interrupted" and number < len(program.stepping):
            if program.stepping[number] is not None:
                trainer = CommandTrainer(program, settings, (number,), settings.seed)
                after = _Onward(observer, doubted(record), trainer, number)
                record = after.record_with(doubted(search_lr(trainer, settings, after)))
            number += 1
        return record


def doubted(record: LrRecord) -> LrRecord:
    """A record whose suggestion was found while other optimizers kept their own rates, which they will not keep."""
    result = record.result
    assert result is not None
    suggestion = result.suggestion
    if suggestion.lr is None or ALONE in suggestion.doubts:
        return record
    suggestion = dataclasses.replace(suggestion, confidence="low", doubts=(*suggestion.doubts, ALONE))
    return dataclasses.replace(record, result=dataclasses.replace(result, suggestion=suggestion))


class _Onward(LrObserver):
    """Follows the search for a further optimizer, after those that the record has."""

    def __init__(self, observer: LrObserver, before: LrRecord, trainer: CommandTrainer, number: int) -> None:
        self._observer, self._before, self._trainer, self._number = observer, before, trainer, number
        assert before.result is not None
        self._taken = before.result.steps + sum(other.result.steps for other in before.result.others)

    def phase(self, name: str) -> None:
        self._observer.phase(f"optimizer {self._number + 1}: {name}")

    def planned(self, steps: int) -> None:
        self._observer.planned(self._taken + steps)

    def stepped(self, point: SweepPoint | TrainingPoint, so_far: Callable[[], LrRecord]) -> None:
        self._observer.stepped(point, lambda: self.record_with(so_far()))

    def record_with(self, further: LrRecord) -> LrRecord:
        """The record of all searches."""
        before = self._before
        assert before.result is not None
        assert further.result is not None
        groups = self._trainer.environment["groups"]
        found = OptimizerResult(self._number + 1, self._trainer.environment["optimizer"], groups, further.result)
        return dataclasses.replace(
            before,
            status=further.status if further.status == "interrupted" else before.status,
            result=dataclasses.replace(before.result, others=(*before.result.others, found)),
            warnings=tuple(dict.fromkeys([*before.warnings, *further.warnings])),
        )


class CommandTrainer:
    """Trains the optimizers of these numbers inside a program."""

    def __init__(self, program: Program, settings: FindLrSettings, drive: Sequence[int], seed: int) -> None:
        self._program, self._settings, self._drive, self._seed = program, settings, drive, seed
        found = program.start(**self._values)
        self._optimizer = driven_together(found.optimizers, drive)
        self.target: Mapping[str, Any] = target_facts(program.target, found, self._optimizer)
        self.environment: Mapping[str, Any] = environment_facts(program.target, found, self._optimizer)
        self.warnings: tuple[str, ...] = ()

    def length(self) -> TrainingLength:
        return TrainingLength(self._settings.horizon or HORIZON, None)

    def group_lrs(self, lr: float) -> tuple[float, ...]:
        return self._optimizer.group_lrs(lr)

    @contextmanager
    def sweep(self) -> Iterator[AttachedSession]:
        yield self._program.session(self._drive, **self._values)

    @contextmanager
    def probe(self, schedule: ScheduleSpec, peak: float, steps: int) -> Iterator[Scheduled]:
        with self.sweep() as session:
            yield Scheduled(session, ProgramSchedule(session, schedule, peak, steps))

    train = probe  # a program has no losses but those of its training

    def reseeded(self, seed: int) -> CommandTrainer:
        if not self._program.target.takes("seed"):
            raise UsageError(
                "--seeds needs {seed} in the command.", hint="For example: -- python train.py --seed {seed}"
            )
        return CommandTrainer(self._program, self._settings, self._drive, seed)

    @property
    def _values(self) -> dict[str, int]:
        return values_for(self._settings, self._seed)


def values_for(settings: FindLrSettings, seed: int) -> dict[str, int]:
    """What is put into the command: so many {steps} that no search reaches them, all of whose sweeps take some."""
    refining = settings.refine_budget.steps or 0 if settings.refine_budget is not None else 0
    return {"seed": seed, "steps": max(settings.horizon or HORIZON, MARGIN * (settings.most_steps + refining))}
