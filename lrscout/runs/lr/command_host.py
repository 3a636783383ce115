"""The host of the requests of a search for a learning rate, for a training command; free of torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lrscout.processes.cores import cpu_cores
from lrscout.results import CommandTarget
from lrscout.runs.lr.command import CommandTrainer, check_takes_seed, values_for
from lrscout.runs.lr.requests import Census, Described
from lrscout.runs.programs import OnOutput, Program, chosen_optimizers, takes_turns
from lrscout.settings import FindLrSettings


class CommandHost:
    """Searches and trains in another process; the command is started anew for each of them."""

    def __init__(self, target: CommandTarget, settings: FindLrSettings, threads: int | None = None) -> None:
        self._target, self._settings = target, settings
        self._environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        self._takes_turns = False  # once it is known what is in the command
        self._census = Census(())

    def describe(self, optimizer: int | None, on_output: OnOutput | None = None) -> Described:
        with Program(self._target, self._settings, on_output, restart=self._settings.restart) as program:
            trainer = self._trainer(program, optimizer, self._settings.seed)
            found = program.start(**values_for(self._settings, self._settings.seed))
            free = cpu_cores() // found.ranks if found.device.startswith("cpu") else 1
            return Described(
                (optimizer or 0) if self._takes_turns else None,
                trainer.target,
                trainer.environment,
                trainer.warnings,
                trainer.length(),
                trainer.group_lrs(1.0),
                self._counted(program, trainer),
                max(1, free),
            )

    @contextmanager
    def trainer(self, optimizer: int | None, seed: int | None = None) -> Iterator[CommandTrainer]:
        seed = self._settings.seed if seed is None else seed
        if seed != self._settings.seed:
            check_takes_seed(self._target)
        with Program(
            self._target, self._settings, restart=self._settings.restart, environment=self._environment
        ) as program:
            trainer = self._trainer(program, optimizer, seed)
            yield trainer
            self._census = self._counted(program, trainer)

    def census(self) -> Census:
        return self._census

    def _trainer(self, program: Program, optimizer: int | None, seed: int) -> CommandTrainer:
        found, wanted = program.start(**values_for(self._settings, seed)), self._settings.optimizer
        self._takes_turns = takes_turns(found, wanted)
        drive = (optimizer or 0,) if self._takes_turns else chosen_optimizers(found, wanted)
        return CommandTrainer(program, self._settings, drive, seed)

    def _counted(self, program: Program, trainer: CommandTrainer) -> Census:
        in_turn = [n for n in range(trainer.known) if not n or n in program.stepping] if self._takes_turns else []
        return Census(tuple(in_turn), trainer.reservation)
