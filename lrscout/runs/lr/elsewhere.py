"""A search for a learning rate whose seeds and trainings take place in other processes, or on a cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeVar

from lrscout.processes.deaths import Died, WorkerDiedError
from lrscout.processes.executor import Executor
from lrscout.results import CommandTarget, LrRecord, Target, Use
from lrscout.runs.lr.executors import open_work
from lrscout.runs.lr.in_turn import search_in_turn
from lrscout.runs.lr.observer import LrObserver
from lrscout.runs.lr.requests import Advanced, Census, Describe, Described, LrHost, SearchSeed, TrainAt
from lrscout.runs.lr.search import search_by
from lrscout.runs.lr.seed import FoundBySeed, StepObserver
from lrscout.runs.lr.trainings import Trained
from lrscout.runs.programs import OnOutput
from lrscout.runs.requests import TrainingRequest
from lrscout.settings import FindLrSettings

A = TypeVar("A")


def is_elsewhere(settings: FindLrSettings) -> bool:
    """Whether other processes are asked for, and have something to do."""
    return not settings.is_here and settings.independent_trainings > 1


def search_elsewhere(
    target: Target | CommandTarget, settings: FindLrSettings, observer: LrObserver, on_output: OnOutput | None = None
) -> LrRecord:
    """Search in --jobs processes, or on a cluster; Ctrl-C keeps the seeds that have ended."""
    executor, described = open_work(target, settings, on_output)
    with closing(executor):
        if not described.census.in_turn:
            return search_by(WorkElsewhere(executor, described, None), settings, observer)
        return search_in_turn(_each(executor, described), settings, observer)


def _each(executor: Executor[LrHost], first: Described) -> Iterator[tuple[int, WorkElsewhere]]:
    """The optimizers, some of which may take their first step during the search for another one."""
    known, done = first.census.in_turn, 0
    while done < len(known):
        number = known[done]
        described = first if first.optimizer == number else executor.ask(Describe(number))
        work = WorkElsewhere(executor, dataclasses.replace(described, target=first.target), number)
        yield number, work
        known, done = max(known, work.census.in_turn, key=len), done + 1


class WorkElsewhere:
    """The work for one optimizer, or for those that the settings name."""

    def __init__(self, executor: Executor[LrHost], described: Described, optimizer: int | None) -> None:
        self.subject = described
        self.census: Census = described.census
        self._executor, self._optimizer = executor, optimizer

    @property
    def reservation(self) -> str | None:
        return self.census.reservation

    def search(self, settings: FindLrSettings, seeds: Sequence[int], observer: StepObserver) -> Iterator[FoundBySeed]:
        requests = [SearchSeed(self._optimizer, settings, seed) for seed in seeds]
        for _, (found, census) in self._performed(requests, "seeds", observer):
            self.census = census
            yield found

    def train(self, rates: Sequence[float], use: Use, steps: int, observer: StepObserver) -> Mapping[float, Trained]:
        requests = [TrainAt(self._optimizer, rate, use, steps) for rate in rates]
        found = dict(self._performed(requests, "trainings to refine", observer))
        return {rate: found[number] for number, rate in enumerate(rates)}

    def _performed(
        self, requests: Sequence[TrainingRequest[LrHost, A]], what: str, observer: StepObserver
    ) -> Iterator[tuple[int, A]]:
        """The number and the answer of each request, as they come.

        Raises:
            WorkerDiedError: the process of one died, as often as it was tried.
        """

        def on_report(number: int, content: Any) -> None:
            if isinstance(content, Advanced):  # and not a line that a command prints
                if content.planned:
                    observer.planned(content.planned)
                observer.advanced(content.steps, content.lr, content.loss)

        count = len(requests)
        tell: Callable[[int], None] = lambda ended: observer.phase(f"{ended} of {count} {what}")  # noqa: E731
        tell(0)
        answers = self._executor.run(requests, on_report)
        for ended, (number, answer) in enumerate(answers, 1):
            if isinstance(answer, Died):
                raise WorkerDiedError(answer)
            tell(ended)
            yield number, answer
