"""The host of the requests of a search for a learning rate, for a target that its process can import."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lrscout.engine.devices import cpu_threads, device_count, is_cpu
from lrscout.processes.cores import cpu_cores
from lrscout.results import Target
from lrscout.runs.lr.live import LiveOptimizers, LiveTrainer
from lrscout.runs.lr.requests import Census, Described
from lrscout.runs.targets import open_workload
from lrscout.settings import FindLrSettings


class LiveHost:
    """Searches and trains in a worker, with a workload that it builds once for the first seed."""

    def __init__(self, target: Target, settings: FindLrSettings, threads: int | None) -> None:
        self._settings, self._threads = settings, threads
        with cpu_threads(threads):
            self._optimizers = LiveOptimizers(open_workload(target, settings.seed), settings, target)
        self._last: LiveTrainer | None = None

    def describe(self, optimizer: int | None, on_output: Callable[[str], None] | None = None) -> Described:
        numbers = self._optimizers.numbers
        optimizer = numbers[0] if numbers and optimizer is None else optimizer
        with self.trainer(optimizer) as trainer:
            devices = 0 if is_cpu(self._settings.device) else device_count()
            return Described(
                optimizer,
                trainer.target,
                trainer.environment,
                trainer.warnings,
                trainer.length(),
                trainer.group_lrs(1.0),
                self.census(),
                devices or cpu_cores(),
            )

    @contextmanager
    def trainer(self, optimizer: int | None, seed: int | None = None) -> Iterator[LiveTrainer]:
        with cpu_threads(self._threads):
            first = self._optimizers.trainer(optimizer)
            self._last = first if seed in (None, self._settings.seed) else first.reseeded(seed)
            yield self._last

    def census(self) -> Census:
        assert self._last is not None
        return Census(tuple(self._optimizers.numbers), self._last.reservation)
