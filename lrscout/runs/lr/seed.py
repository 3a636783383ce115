"""A search for a learning rate with one seed: a coarse and a fine sweep, and probes where they cannot tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lrscout.results import Probing, SweepPoint, SweepResult, TrainingPoint
from lrscout.runs.lr.trainer import LrTrainer
from lrscout.runs.lr.trainings import probe
from lrscout.search import probing
from lrscout.search.bracket import coarse_rates, fine_rates, why_probe
from lrscout.search.curve import Curve
from lrscout.search.range_test import learning_rates, run_range_test
from lrscout.search.rules import CALIBRATED
from lrscout.settings import FindLrSettings


@dataclass(frozen=True, slots=True)
class FoundBySeed:
    """What was found with one seed, all from the same initial state."""

    seed: int
    sweep: SweepResult  # the one that is judged
    coarse: SweepResult | None  # the one before it, if there was one
    steps: int
    warnings: tuple[str, ...] = ()
    interrupted: bool = False


class StepObserver:
    """Hears how searches with seeds, and trainings, go; this one ignores it."""

    def phase(self, name: str) -> None:
        """A sweep or a training begins."""

    def planned(self, more: int) -> None:
        """So many steps more than was known before may be needed."""

    def stepped(self, point: SweepPoint | TrainingPoint, so_far: Callable[[], FoundBySeed] | None) -> None:
        """A step was taken in this process; `so_far`, of a search, tells what it has found until now."""

    def advanced(self, steps: int, lr: float, loss: float) -> None:
        """So many steps were taken in another process, the last of them at this rate and with this loss."""


def search_seed(trainer: LrTrainer, settings: FindLrSettings, seed: int, observer: StepObserver) -> FoundBySeed:
    """Search with the trainer of this seed; Ctrl-C keeps what was measured."""
    return _SeedSearch(trainer, settings, seed, observer).run()


class _SeedSearch:
    def __init__(self, trainer: LrTrainer, settings: FindLrSettings, seed: int, observer: StepObserver) -> None:
        self._trainer, self._settings, self._seed, self._observer = trainer, settings, seed, observer
        self._coarse: SweepResult | None = None
        self._steps = 0
        self._lacks_steps = False  # for short trainings that are needed

    def run(self) -> FoundBySeed:
        settings = self._settings
        if settings.range is not None:
            rates = learning_rates(*settings.range, settings.steps, settings.spacing)
            return self._found(self._sweep(rates, "sweep"))
        sweep = coarse = self._sweep(coarse_rates(settings.steps), "coarse sweep")
        curve = Curve(coarse)
        rates = fine_rates(curve, settings.steps)
        if rates:
            self._coarse = coarse
            sweep = dataclasses.replace(self._sweep(rates, "fine sweep"), below=curve.rate_of_divergence)
        why = why_probe(Curve(sweep)) if settings.rule in CALIBRATED else None
        most = settings.most_steps - self._steps
        if why is None or most < probing.MIN_PROBING_STEPS:
            self._lacks_steps = why is not None and sweep.stop_reason != "interrupted"
            return self._found(sweep)
        return self._probed(sweep, curve.initial, why, most)

    def _probed(self, sweep: SweepResult, initial: float, why: str, most: int) -> FoundBySeed:
        """Make short trainings of at most `most` steps together; Ctrl-C keeps those that ended."""

        def on_point(point: TrainingPoint) -> None:
            self._tell(point, lambda: self._found(sweep))

        def keep(found: Probing) -> None:
            nonlocal sweep
            sweep = dataclasses.replace(sweep, probing=found)

        self._observer.planned(most)
        try:
            on_probe = lambda number: self._observer.phase(f"probe {number}")  # noqa: E731
            keep(probe(self._trainer, sweep, why, initial, most, on_point, keep, on_probe))
        except KeyboardInterrupt:
            return self._found(sweep, interrupted=True)
        return self._found(sweep)

    def _sweep(self, rates: Sequence[float], name: str) -> SweepResult:
        settings = self._settings
        number = self._seed - settings.seed + 1
        self._observer.phase(f"{name}, seed {number} of {settings.seeds}" if settings.seeds > 1 else name)
        measured: list[SweepPoint] = []

        def on_point(point: SweepPoint) -> None:
            measured.append(point)
            self._tell(point, lambda: self._found(SweepResult((*measured,), "interrupted", 0.0)))

        with self._trainer.sweep() as session:
            return run_range_test(
                session,
                rates,
                smoothing=settings.smoothing,
                stop_factor=settings.stop_factor if settings.early_stop else None,
                on_point=on_point,
            )

    def _tell(self, point: SweepPoint | TrainingPoint, so_far: Callable[[], FoundBySeed]) -> None:
        self._steps += 1
        self._observer.stepped(point, so_far)

    def _found(self, sweep: SweepResult, interrupted: bool = False) -> FoundBySeed:
        interrupted = interrupted or sweep.stop_reason == "interrupted"
        warnings = (*([_too_few_steps(self._settings)] if self._lacks_steps else []), *self._trainer.warnings)
        return FoundBySeed(self._seed, sweep, self._coarse, self._steps, warnings, interrupted)


def _too_few_steps(settings: FindLrSettings) -> str:
    """The warning where short trainings were needed, and --max-steps left too few steps for them."""
    enough = settings.steps + probing.MIN_PROBING_STEPS
    return (
        f"--max-steps {settings.max_steps} leaves no room for the short training runs that tell the rate where the"
        f" sweeps do not: give at least {enough}."
    )
