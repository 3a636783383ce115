"""Who takes the steps of a search for a learning rate: a trainer in this process, or other processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from lrscout.results import Use
from lrscout.runs.lr.seed import FoundBySeed, StepObserver, search_seed
from lrscout.runs.lr.trainer import LrSubject, LrTrainer
from lrscout.runs.lr.trainings import Trained, train
from lrscout.settings import FindLrSettings


class LrWork(Protocol):
    """Searches with seeds and trains at rates, which do not depend on each other."""

    @property
    def subject(self) -> LrSubject:
        """What they are done with."""

    @property
    def reservation(self) -> str | None:
        """What is doubtful about the answer, since there are other optimizers; after the search."""

    def search(self, settings: FindLrSettings, seeds: Sequence[int], observer: StepObserver) -> Iterator[FoundBySeed]:
        """What is found with each seed, as they end."""

    def train(self, rates: Sequence[float], use: Use, steps: int, observer: StepObserver) -> Mapping[float, Trained]:
        """A training of --refine at each rate."""


class WorkHere:
    """All of it in this process, one after the other."""

    def __init__(self, trainer: LrTrainer) -> None:
        self.subject = trainer
        self._trainer = trainer
        self._trainings = 0

    @property
    def reservation(self) -> str | None:
        return self._trainer.reservation

    def search(self, settings: FindLrSettings, seeds: Sequence[int], observer: StepObserver) -> Iterator[FoundBySeed]:
        for seed in seeds:
            trainer = self._trainer if seed == settings.seed else self._trainer.reseeded(seed)
            yield search_seed(trainer, settings, seed, observer)

    def train(self, rates: Sequence[float], use: Use, steps: int, observer: StepObserver) -> Mapping[float, Trained]:
        return {rate: self._train(rate, use, steps, observer) for rate in rates}

    def _train(self, rate: float, use: Use, steps: int, observer: StepObserver) -> Trained:
        self._trainings += 1
        observer.phase(f"refining, training {self._trainings}")
        return train(self._trainer, rate, use, steps, lambda point: observer.stepped(point, None))
