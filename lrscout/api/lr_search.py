"""The search behind find-lr, in Python and on the command line: sweep, read off the suggestion, make the record."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from lrscout.api.lr_refine import describe, learned_nothing, refine
from lrscout.api.targets import describe_target, open_workload
from lrscout.results import LrResult, RunRecord, SeedSweep, Status, SweepPoint, SweepResult, Target, TrainingPoint, Use
from lrscout.search.bracket import coarse_rates, fine_rates
from lrscout.search.curve import curve_of
from lrscout.search.range_test import learning_rates, run_range_test
from lrscout.search.refinement import LEAST_STEPS, OFFSETS
from lrscout.search.scout import ceiling, horizon_factor
from lrscout.search.suggestion import moved_by, rates_of_rules, suggest, uses_of
from lrscout.settings import FindLrSettings, read_budget

if TYPE_CHECKING:
    from lrscout.engine.session import Session
    from lrscout.engine.workload import Workload

Watch = Callable[[SweepPoint | TrainingPoint, Callable[[], RunRecord]], None]
"""Called after every step with its point and a function that makes the record so far."""


def search_lr(workload: Workload, settings: FindLrSettings, target: Target, watch: Watch | None = None) -> RunRecord:
    """Sweep the workload and read off the suggestion; Ctrl-C during a sweep gives the status `interrupted`."""
    return LrSearch(workload, settings, target, watch).run()


class LrSearch:
    """One search: a coarse and a fine sweep from the same initial state, for every seed."""

    def __init__(
        self, workload: Workload, settings: FindLrSettings, target: Target, watch: Watch | None = None
    ) -> None:
        from lrscout.engine.environment import describe_environment
        from lrscout.engine.session import Session

        self._workload, self._settings, self._target, self._watch = workload, settings, target, watch
        self._session = Session(workload, settings, val_batches=settings.val_batches)
        self._environment = describe_environment(self._session)
        self._coarse: SweepResult | None = None  # of the first seed
        self._sweeps: list[SweepResult] = []  # the one that is judged, for every seed
        self._warnings: list[str] = []
        self._steps = 0
        self._started = time.perf_counter()

    def run(self) -> RunRecord:
        """All sweeps, then the record."""
        for seed in range(self._settings.seed, self._settings.seed + self._settings.seeds):
            session = self._session if seed == self._settings.seed else self._session_of(seed)
            self._search(session)
            self._warnings += [warning for warning in session.warnings if warning not in self._warnings]
            if self._sweeps[-1].stop_reason == "interrupted":
                break
        found = self._record(self._sweeps)
        return found if self._settings.refine is None or found.status != "ok" else self._refined(found)

    def _refined(self, found: RunRecord) -> RunRecord:
        """The record with the suggestion moved by short trainings; Ctrl-C in them leaves it where it was."""
        from lrscout.engine.session import Session

        def on_point(point: TrainingPoint) -> None:
            self._steps += 1
            if self._watch is not None:
                self._watch(point, lambda: dataclasses.replace(found, status="interrupted"))

        settings, result = self._settings, cast(LrResult, found.result)
        use, lr = cast(Use, settings.use), cast(float, result.suggestion.lr)
        divergence = min(
            ceiling(curve_of(sweep.points)) for sweep in self._sweeps if not curve_of(sweep.points).too_few
        )
        try:
            refinement = refine(
                Session(self._workload, settings),
                lr / horizon_factor(settings.horizon),
                use,
                divergence,
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
        uses = {**result.uses, use: moved.lr}
        seconds = time.perf_counter() - self._started
        result = dataclasses.replace(
            result, suggestion=moved, uses=uses, refinement=refinement, steps=self._steps, seconds=seconds
        )
        return dataclasses.replace(found, result=result, warnings=tuple(self._warnings))

    def _probe_steps(self) -> int:
        """The steps of each probe; a time is turned into steps by how fast the sweeps were."""
        steps, seconds = read_budget(cast(str, self._settings.refine))
        if steps is None:
            swept = sum(sweep.seconds for sweep in self._sweeps) / max(1, sum(sweep.steps for sweep in self._sweeps))
            steps = int(cast(float, seconds) / swept)
        each = steps // len(OFFSETS)
        if each < LEAST_STEPS:
            self._warnings.append(
                f"--refine {self._settings.refine} is time for {each} steps a training, and fewer than {LEAST_STEPS} "
                f"made suggestions worse where it was measured: {LEAST_STEPS} are taken."
            )
        return max(each, LEAST_STEPS)

    def _session_of(self, seed: int) -> Session:
        """A session from another seed: a dotted path is built anew, live objects only see other random numbers."""
        from lrscout.engine.session import Session

        workload = self._workload if self._target.path is None else open_workload(self._target, seed)
        settings = dataclasses.replace(self._settings, seed=seed)
        return Session(workload, settings, val_batches=settings.val_batches)

    def _search(self, session: Session) -> None:
        settings = self._settings
        if settings.range is not None:
            self._sweeps.append(self._sweep(session, learning_rates(*settings.range, settings.steps, settings.spacing)))
            return
        coarse = self._sweep(session, coarse_rates(settings.steps))
        rates = fine_rates(coarse, settings.steps)
        if rates and not self._sweeps:
            self._coarse = coarse
        if rates:
            below = curve_of(coarse.points).rate_of_divergence
            self._sweeps.append(dataclasses.replace(self._sweep(session, rates), below=below))
        else:
            self._sweeps.append(coarse)

    def _sweep(self, session: Session, rates: Sequence[float]) -> SweepResult:
        settings = self._settings
        measured: list[SweepPoint] = []

        def on_point(point: SweepPoint) -> None:
            measured.append(point)
            self._steps += 1
            if self._watch is not None:
                self._watch(point, lambda: self._record([*self._sweeps, SweepResult((*measured,), "interrupted", 0.0)]))

        with session.open():
            return run_range_test(
                session,
                rates,
                smoothing=settings.smoothing,
                stop_factor=settings.stop_factor if settings.early_stop else None,
                on_point=on_point,
            )

    def _record(self, sweeps: Sequence[SweepResult]) -> RunRecord:
        settings = self._settings
        use = cast(Use, settings.use)
        headline = suggest(sweeps, settings.rule, use, settings.horizon)
        if headline.lr is not None:
            headline = dataclasses.replace(headline, groups=self._session.group_lrs(headline.lr))
        status: Status = "ok" if headline.lr is not None else "inconclusive"
        if sweeps[-1].stop_reason == "interrupted":
            status = "interrupted"
        first = sweeps[0]
        result = LrResult(
            headline,
            rates_of_rules(sweeps, use, settings.horizon),
            first.points,
            first.stop_reason,
            self._steps,
            time.perf_counter() - self._started,
            uses=uses_of(sweeps, settings.rule, settings.horizon),
            coarse=self._coarse.points if self._coarse is not None else (),
            seeds=self._seeds(sweeps),
        )
        return RunRecord(
            command="find-lr",
            status=status,
            target=describe_target(self._target),
            settings=dataclasses.asdict(settings),
            environment=self._environment,
            result=result,
            warnings=tuple(self._warnings or self._session.warnings),
        )

    def _seeds(self, sweeps: Sequence[SweepResult]) -> tuple[SeedSweep, ...]:
        settings = self._settings
        if settings.seeds == 1:
            return ()
        return tuple(
            SeedSweep(settings.seed + i, uses_of([sweep], settings.rule, settings.horizon), sweep.points)
            for i, sweep in enumerate(sweeps)
        )
