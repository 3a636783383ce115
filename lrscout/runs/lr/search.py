"""The search behind find-lr: sweep, read the suggestion off the curve, make the record."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from lrscout.results import (
    LrRecord,
    LrResult,
    Probing,
    RunRecord,
    SeedSweep,
    Status,
    SweepPoint,
    SweepResult,
    TrainingPoint,
)
from lrscout.runs.lr.observer import LrObserver
from lrscout.runs.lr.trainer import LrTrainer
from lrscout.runs.lr.trainings import describe, learned_nothing, probe, refine
from lrscout.search import probing
from lrscout.search.bracket import coarse_rates, fine_rates, why_probe
from lrscout.search.curve import Curve
from lrscout.search.range_test import learning_rates, run_range_test
from lrscout.search.refinement import CEILING_SHARE, MIN_STEPS_PER_PROBE, OFFSETS
from lrscout.search.rules import CALIBRATED
from lrscout.search.scout import ceiling, horizon_factor
from lrscout.search.suggestion import by_length, moved_by, power_of, rates_of_rules, suggest, uses_of
from lrscout.settings import FindLrSettings


def search_lr(trainer: LrTrainer, settings: FindLrSettings, observer: LrObserver | None = None) -> LrRecord:
    """Search and make the record, whose status is `interrupted` after Ctrl-C."""
    return LrSearch(trainer, settings, observer or LrObserver()).run()


class LrSearch:
    """One search: a coarse and a fine sweep from the same initial state, for every seed."""

    def __init__(self, trainer: LrTrainer, settings: FindLrSettings, observer: LrObserver) -> None:
        self._trainer, self._observer = trainer, observer
        self._coarse: SweepResult | None = None  # of the first seed
        self._sweeps: list[SweepResult] = []  # the sweep that is judged, per seed
        length = trainer.length()
        self._horizon, self._epochs = length.steps, length.epochs
        self._warnings = [length.warning] if length.warning else []
        self._settings = dataclasses.replace(settings, horizon=self._horizon, epochs=None)
        self._steps, self._planned = 0, 0
        self._interrupted = False  # during a short training; a sweep has its stop_reason
        self._started = time.perf_counter()

    def run(self) -> LrRecord:
        """All sweeps, then the record."""
        budget = self._settings.refine_budget
        refining = 0 if budget is None else budget.steps or MIN_STEPS_PER_PROBE * len(OFFSETS)
        self._plan(self._settings.steps * self._settings.seeds + refining)
        for seed in range(self._settings.seed, self._settings.seed + self._settings.seeds):
            trainer = self._trainer if seed == self._settings.seed else self._trainer.reseeded(seed)
            self._search(trainer)
            self._warnings += [warning for warning in trainer.warnings if warning not in self._warnings]
            if self._was_interrupted:
                break
        result = self._result(self._sweeps)
        if self._settings.refine is not None and result.suggestion.lr is not None and not self._was_interrupted:
            result = self._refined(result, result.suggestion.lr)
        return self._record(result)

    def _refined(self, result: LrResult, lr: float) -> LrResult:
        """The result with the suggestion moved by short trainings; Ctrl-C during them leaves it where it was."""
        use = self._settings.use
        power = power_of(result.by_length, use)
        try:
            refinement = refine(
                self._trainer,
                lr / horizon_factor(self._horizon, power),
                power,
                use,
                self._divergence(),
                self._probe_steps(),
                lambda point: self._tell(point, lambda: self._record(result, "interrupted")),
                lambda number: self._observer.phase(f"refining, training {number}"),
            )
        except KeyboardInterrupt:
            self._interrupted = True
            return result
        factor = refinement.after / refinement.before
        moved = dataclasses.replace(moved_by(result.suggestion, factor), reason=describe(refinement))
        if learned_nothing(refinement):
            doubts = (*moved.doubts, "no training run of --refine got below its initial loss")
            moved = dataclasses.replace(moved, confidence="low", doubts=doubts)
        return dataclasses.replace(
            result,
            suggestion=moved,
            uses={**result.uses, use: moved.lr},
            by_length={
                length: {**rates, use: None if (rate := rates[use]) is None else rate * factor}
                for length, rates in result.by_length.items()
            },
            refinement=refinement,
            steps=self._steps,
            seconds=time.perf_counter() - self._started,
        )

    def _divergence(self) -> float:
        """A rate at which the loss diverges: in a sweep, or well above every short training that did not diverge."""
        curves = [curve for sweep in self._sweeps if not (curve := Curve(sweep)).too_few]
        trained = [probe.lr for s in self._sweeps if s.probing for probe in s.probing.probes if probe.status == "ok"]
        return max([min(map(ceiling, curves)), *(lr / CEILING_SHARE for lr in trained)])

    def _probe_steps(self) -> int:
        """The steps of each training of --refine; a time is converted to steps at the speed of the sweeps."""
        budget = self._settings.refine_budget
        assert budget is not None
        steps = budget.steps
        if steps is None:
            swept = sum(sweep.seconds for sweep in self._sweeps) / max(1, sum(sweep.steps for sweep in self._sweeps))
            steps = int(budget.seconds / swept)
        each = steps // len(OFFSETS)
        if each < MIN_STEPS_PER_PROBE:
            self._warnings.append(
                f"--refine {self._settings.refine} leaves time for {each} steps per training, but fewer than "
                f"{MIN_STEPS_PER_PROBE} made suggestions worse in our measurements: using {MIN_STEPS_PER_PROBE}."
            )
        return max(each, MIN_STEPS_PER_PROBE)

    def _search(self, trainer: LrTrainer) -> None:
        settings, taken = self._settings, self._steps
        if settings.range is not None:
            rates = learning_rates(*settings.range, settings.steps, settings.spacing)
            self._sweeps.append(self._sweep(trainer, rates, "sweep"))
            return
        sweep = coarse = self._sweep(trainer, coarse_rates(settings.steps), "coarse sweep")
        curve = Curve(coarse)
        rates = fine_rates(curve, settings.steps)
        if rates:
            if not self._sweeps:
                self._coarse = coarse
            sweep = dataclasses.replace(self._sweep(trainer, rates, "fine sweep"), below=curve.rate_of_divergence)
        self._sweeps.append(sweep)
        why = why_probe(Curve(sweep)) if settings.rule in CALIBRATED else None
        most = settings.most_steps - (self._steps - taken)
        if why is not None and most >= probing.MIN_PROBING_STEPS:
            self._probe(trainer, curve.initial, why, most)

    def _probe(self, trainer: LrTrainer, initial: float, why: str, most: int) -> None:
        """Make short trainings of at most `most` steps together; Ctrl-C keeps those that ended."""
        sweep = self._sweeps[-1]

        def on_point(point: TrainingPoint) -> None:
            self._tell(point, lambda: self._record(self._result(self._sweeps), "interrupted"))

        def keep(found: Probing) -> None:
            self._sweeps[-1] = dataclasses.replace(sweep, probing=found)

        self._plan(most)
        try:
            on_probe = lambda number: self._observer.phase(f"probe {number}")  # noqa: E731
            keep(probe(trainer, sweep, why, initial, most, on_point, keep, on_probe))
        except KeyboardInterrupt:
            self._interrupted = True

    def _sweep(self, trainer: LrTrainer, rates: Sequence[float], name: str) -> SweepResult:
        settings = self._settings
        seed = f", seed {len(self._sweeps) + 1} of {settings.seeds}" if settings.seeds > 1 else ""
        self._observer.phase(f"{name}{seed}")
        measured: list[SweepPoint] = []

        def on_point(point: SweepPoint) -> None:
            measured.append(point)
            sweeps = [*self._sweeps, SweepResult((*measured,), "interrupted", 0.0)]
            self._tell(point, lambda: self._record(self._result(sweeps), "interrupted"))

        with trainer.sweep() as session:
            return run_range_test(
                session,
                rates,
                smoothing=settings.smoothing,
                stop_factor=settings.stop_factor if settings.early_stop else None,
                on_point=on_point,
            )

    def _plan(self, more: int) -> None:
        self._planned += more
        self._observer.planned(self._planned)

    def _tell(self, point: SweepPoint | TrainingPoint, so_far: Callable[[], LrRecord]) -> None:
        """Count a step, and report it with a way to make the record so far."""
        self._steps += 1
        self._observer.stepped(point, so_far)

    @property
    def _was_interrupted(self) -> bool:
        return self._interrupted or self._sweeps[-1].stop_reason == "interrupted"

    def _result(self, sweeps: Sequence[SweepResult]) -> LrResult:
        settings, horizon = self._settings, self._horizon
        curves = [Curve(sweep) for sweep in sweeps]
        suggestion = suggest(curves, settings.rule, settings.use, horizon, self._epochs)
        if suggestion.lr is not None:
            suggestion = dataclasses.replace(suggestion, groups=self._trainer.group_lrs(suggestion.lr))
        first, lengths = sweeps[0], by_length(curves, settings.rule, horizon)
        return LrResult(
            suggestion,
            rates_of_rules(curves[0], settings.use, horizon),
            first.points,
            first.stop_reason,
            self._steps,
            time.perf_counter() - self._started,
            uses=lengths[str(horizon)],
            by_length=lengths,
            coarse=self._coarse.points if self._coarse is not None else (),
            seeds=self._seeds(curves),
            probing=first.probing,
        )

    def _record(self, result: LrResult, status: Status | None = None) -> LrRecord:
        if status is None and self._was_interrupted:
            status = "interrupted"
        return RunRecord(
            command="find-lr",
            status=status or ("ok" if result.suggestion.lr is not None else "inconclusive"),
            target=self._trainer.target,
            settings=dataclasses.asdict(self._settings),
            environment=self._trainer.environment,
            result=result,
            warnings=tuple(dict.fromkeys([*self._warnings, *self._trainer.warnings])),
        )

    def _seeds(self, curves: Sequence[Curve]) -> tuple[SeedSweep, ...]:
        settings = self._settings
        if settings.seeds == 1:
            return ()
        return tuple(
            SeedSweep(settings.seed + i, uses_of([curve], settings.rule, self._horizon), curve.sweep.points)
            for i, curve in enumerate(curves)
        )
