"""The search behind find-lr, in Python and on the command line: sweep, read off the suggestion, make the record."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import cast

from lrscout.engine.environment import describe_environment
from lrscout.engine.session import Session
from lrscout.engine.workload import Workload
from lrscout.results import (
    LrRecord,
    LrResult,
    Probing,
    RunRecord,
    SeedSweep,
    Status,
    SweepPoint,
    SweepResult,
    Target,
    TrainingPoint,
)
from lrscout.runs.lr.observer import LrObserver
from lrscout.runs.lr.training_length import length_of_training
from lrscout.runs.lr.trainings import describe, learned_nothing, probe, refine
from lrscout.runs.targets import open_workload
from lrscout.search import probing
from lrscout.search.bracket import coarse_rates, fine_rates, why_probe
from lrscout.search.curve import Curve
from lrscout.search.range_test import learning_rates, run_range_test
from lrscout.search.refinement import CEILING_SHARE, MIN_STEPS_PER_PROBE, OFFSETS
from lrscout.search.rules import CALIBRATED
from lrscout.search.scout import ceiling, horizon_factor
from lrscout.search.suggestion import by_length, moved_by, power_of, rates_of_rules, suggest, uses_of
from lrscout.settings import FindLrSettings


def search_lr(
    workload: Workload, settings: FindLrSettings, target: Target, observer: LrObserver | None = None
) -> LrRecord:
    """Search, and make the record; Ctrl-C gives the status `interrupted`."""
    return LrSearch(workload, settings, target, observer or LrObserver()).run()


class LrSearch:
    """One search: a coarse and a fine sweep from the same initial state, for every seed."""

    def __init__(
        self,
        workload: Workload,
        settings: FindLrSettings,
        target: Target,
        observer: LrObserver,
    ) -> None:
        self._workload, self._target, self._observer = workload, target, observer
        self._session = Session(workload, settings, val_batches=settings.val_batches)
        self._environment = describe_environment(self._session)
        self._coarse: SweepResult | None = None  # of the first seed
        self._sweeps: list[SweepResult] = []  # the one that is judged, for every seed
        self._warnings: list[str] = []
        length = length_of_training(settings, self._session)
        self._horizon, self._epochs = length.steps, length.epochs
        self._warnings += [length.told] if length.told else []
        self._settings = dataclasses.replace(settings, horizon=self._horizon, epochs=None)
        self._steps, self._planned = 0, 0
        self._interrupted = False  # during short trainings; an interrupted sweep says so itself
        self._started = time.perf_counter()

    def run(self) -> LrRecord:
        """All sweeps, then the record."""
        budget = self._settings.refine_budget
        refining = 0 if budget is None else budget.steps or MIN_STEPS_PER_PROBE * len(OFFSETS)
        self._plan(self._settings.steps * self._settings.seeds + refining)
        for seed in range(self._settings.seed, self._settings.seed + self._settings.seeds):
            session = self._session if seed == self._settings.seed else self._session_of(seed)
            self._search(session)
            self._warnings += [warning for warning in session.warnings if warning not in self._warnings]
            if self._interrupted or self._sweeps[-1].stop_reason == "interrupted":
                break
        found = self._record(self._sweeps)
        return found if self._settings.refine is None or found.status != "ok" else self._refined(found)

    def _refined(self, found: LrRecord) -> LrRecord:
        """The record with the suggestion moved by short trainings; Ctrl-C in them leaves it where it was."""

        def on_point(point: TrainingPoint) -> None:
            self._tell(point, lambda: dataclasses.replace(found, status="interrupted"))

        settings, result = self._settings, cast(LrResult, found.result)
        use, lr = settings.use, cast(float, result.suggestion.lr)
        power = power_of(result.by_length, use)
        try:
            refinement = refine(
                Session(self._workload, settings),
                lr / horizon_factor(self._horizon, power),
                power,
                use,
                self._divergence(),
                self._probe_steps(),
                on_point,
            )
        except KeyboardInterrupt:
            return dataclasses.replace(found, status="interrupted")
        factor = refinement.after / refinement.before
        moved = dataclasses.replace(moved_by(result.suggestion, factor), reason=describe(refinement))
        if learned_nothing(refinement):
            doubts = (*moved.doubts, "no training of --refine got below the loss that it began with")
            moved = dataclasses.replace(moved, confidence="low", doubts=doubts)
        result = dataclasses.replace(
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
        return dataclasses.replace(found, result=result, warnings=tuple(self._warnings))

    def _divergence(self) -> float:
        """A rate at which the loss diverges in some seed's sweep; twice any at which a short training did not."""
        curves = [curve for sweep in self._sweeps if not (curve := Curve(sweep)).too_few]
        trained = [probe.lr for s in self._sweeps if s.probing for probe in s.probing.probes if probe.status == "ok"]
        return max([min(map(ceiling, curves)), *(lr / CEILING_SHARE for lr in trained)])

    def _probe_steps(self) -> int:
        """The steps of each probe; a time is turned into steps by how fast the sweeps were."""
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

    def _session_of(self, seed: int) -> Session:
        """A session from another seed: a dotted path is built anew, live objects only see other random numbers."""
        workload = self._workload if self._target.path is None else open_workload(self._target, seed)
        settings = dataclasses.replace(self._settings, seed=seed)
        return Session(workload, settings, val_batches=settings.val_batches)

    def _search(self, session: Session) -> None:
        settings, taken = self._settings, self._steps
        if settings.range is not None:
            self._sweeps.append(self._sweep(session, learning_rates(*settings.range, settings.steps, settings.spacing)))
            return
        sweep = coarse = self._sweep(session, coarse_rates(settings.steps))
        curve = Curve(coarse)
        rates = fine_rates(curve, settings.steps)
        if rates:
            if not self._sweeps:
                self._coarse = coarse
            sweep = dataclasses.replace(self._sweep(session, rates), below=curve.rate_of_divergence)
        self._sweeps.append(sweep)
        why = why_probe(Curve(sweep)) if settings.rule in CALIBRATED else None
        most = settings.most_steps - (self._steps - taken)
        if why is not None and most >= probing.MIN_PROBING_STEPS:
            self._probe(session, curve.initial, why, most)

    def _probe(self, session: Session, initial: float, why: str, most: int) -> None:
        """Make short trainings, in at most so many steps; Ctrl-C keeps those that were made."""
        sweep = self._sweeps[-1]

        def on_point(point: TrainingPoint) -> None:
            self._tell(point, lambda: dataclasses.replace(self._record(self._sweeps), status="interrupted"))

        def keep(found: Probing) -> None:
            self._sweeps[-1] = dataclasses.replace(sweep, probing=found)

        self._plan(most)
        try:
            keep(probe(session, sweep, why, initial, most, on_point, keep))
        except KeyboardInterrupt:
            self._interrupted = True

    def _sweep(self, session: Session, rates: Sequence[float]) -> SweepResult:
        settings = self._settings
        measured: list[SweepPoint] = []

        def on_point(point: SweepPoint) -> None:
            measured.append(point)
            self._tell(point, lambda: self._record([*self._sweeps, SweepResult((*measured,), "interrupted", 0.0)]))

        with session.open():
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
        """Count a step that was taken, and show it with the record as it is by then."""
        self._steps += 1
        self._observer.stepped(point, so_far)

    def _record(self, sweeps: Sequence[SweepResult]) -> LrRecord:
        settings = self._settings
        use = settings.use
        curves = [Curve(sweep) for sweep in sweeps]
        headline = suggest(curves, settings.rule, use, self._horizon, self._epochs)
        if headline.lr is not None:
            headline = dataclasses.replace(headline, groups=self._session.group_lrs(headline.lr))
        status: Status = "ok" if headline.lr is not None else "inconclusive"
        if self._interrupted or sweeps[-1].stop_reason == "interrupted":
            status = "interrupted"
        first, lengths = sweeps[0], by_length(curves, settings.rule, self._horizon)
        result = LrResult(
            headline,
            rates_of_rules(curves[0], use, self._horizon),
            first.points,
            first.stop_reason,
            self._steps,
            time.perf_counter() - self._started,
            uses=lengths[str(self._horizon)],
            by_length=lengths,
            coarse=self._coarse.points if self._coarse is not None else (),
            seeds=self._seeds(curves),
            probing=first.probing,
        )
        return RunRecord(
            command="find-lr",
            status=status,
            target=self._target.as_dict(),
            settings=dataclasses.asdict(settings),
            environment=self._environment,
            result=result,
            warnings=tuple(dict.fromkeys([*self._warnings, *self._session.warnings])),
        )

    def _seeds(self, curves: Sequence[Curve]) -> tuple[SeedSweep, ...]:
        settings = self._settings
        if settings.seeds == 1:
            return ()
        return tuple(
            SeedSweep(settings.seed + i, uses_of([curve], settings.rule, self._horizon), curve.sweep.points)
            for i, curve in enumerate(curves)
        )
