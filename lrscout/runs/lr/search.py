"""The search behind find-lr: sweep, read the suggestion off the curve, make the record."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from lrscout.results import LrRecord, LrResult, RunRecord, SeedSweep, Status, SweepPoint, TrainingPoint
from lrscout.runs.lr.observer import LrObserver
from lrscout.runs.lr.seed import FoundBySeed, StepObserver
from lrscout.runs.lr.trainer import RESERVATIONS, LrTrainer
from lrscout.runs.lr.trainings import Trained, describe, learned_nothing, refine
from lrscout.runs.lr.work import LrWork, WorkHere
from lrscout.search.curve import Curve
from lrscout.search.refinement import CEILING_SHARE, MIN_STEPS_PER_PROBE, OFFSETS
from lrscout.search.scout import ceiling, horizon_factor
from lrscout.search.suggestion import by_length, moved_by, power_of, rates_of_rules, suggest, uses_of
from lrscout.settings import FindLrSettings


def search_lr(trainer: LrTrainer, settings: FindLrSettings, observer: LrObserver | None = None) -> LrRecord:
    """Search in this process and make the record, whose status is `interrupted` after Ctrl-C."""
    return search_by(WorkHere(trainer), settings, observer or LrObserver())


def search_by(work: LrWork, settings: FindLrSettings, observer: LrObserver) -> LrRecord:
    """Search wherever the work is done."""
    record = LrSearch(work, settings, observer).run()
    return _doubted(record, work.reservation) if work.reservation is not None else record


class LrSearch(StepObserver):
    """One search: a coarse and a fine sweep from the same initial state, for every seed."""

    def __init__(self, work: LrWork, settings: FindLrSettings, observer: LrObserver) -> None:
        self._work, self._observer = work, observer
        self._ended: dict[int, FoundBySeed] = {}  # by seed
        length = work.subject.length()
        self._horizon, self._epochs, self._length_from = length.steps, length.epochs, length.source
        self._length_warnings = [length.warning] if length.warning else []
        self._warnings: list[str] = []  # about --refine
        self._settings = dataclasses.replace(settings, horizon=self._horizon, epochs=None)
        self._planned = 0
        self._swept: LrResult | None = None  # the result before --refine
        self._interrupted = False
        self._started = time.perf_counter()

    def run(self) -> LrRecord:
        """All sweeps, then the record."""
        settings, budget = self._settings, self._settings.refine_budget
        refining = 0 if budget is None else budget.steps or MIN_STEPS_PER_PROBE * len(OFFSETS)
        self.planned(settings.steps * settings.seeds + refining)
        try:
            for found in self._work.search(settings, range(settings.seed, settings.seed + settings.seeds), self):
                self._ended[found.seed] = found
                self._observer.keep(lambda: self._record(self._result(self._found()), "interrupted"))
                if found.interrupted:
                    self._interrupted = True
                    break
        except KeyboardInterrupt:
            if not self._ended:
                raise
            self._interrupted = True
        result = self._result(self._found())
        if settings.refine is not None and result.suggestion.lr is not None and not self._interrupted:
            self._swept = result
            result = self._refined(result, result.suggestion.lr)
        return self._record(result)

    def phase(self, name: str) -> None:
        self._observer.phase(name)

    def planned(self, more: int) -> None:
        self._planned += more
        self._observer.planned(self._planned)

    def stepped(self, point: SweepPoint | TrainingPoint, so_far: Callable[[], FoundBySeed] | None) -> None:
        def record() -> LrRecord:
            found = self._found() if so_far is None else [*self._found(), so_far()]
            return self._record(self._swept or self._result(found), "interrupted")

        self._observer.stepped(point, record)

    def advanced(self, steps: int, lr: float, loss: float) -> None:
        self._observer.advanced(steps, lr, loss)

    def _found(self) -> list[FoundBySeed]:
        """What was found with the seeds that have ended, in their order."""
        return [self._ended[seed] for seed in sorted(self._ended)]

    def _refined(self, result: LrResult, lr: float) -> LrResult:
        """The result with the suggestion moved by short trainings; Ctrl-C during them leaves it where it was."""
        use = self._settings.use
        power = power_of(result.by_length, use)
        steps, taken = self._probe_steps(), 0

        def train(rates: Sequence[float]) -> Mapping[float, Trained]:
            nonlocal taken
            trained = self._work.train(rates, use, steps, self)
            taken += sum(len(each.run.points) for each in trained.values())
            self._warnings += [warning for each in trained.values() for warning in each.warnings]
            return trained

        try:
            center = lr / horizon_factor(self._horizon, power)
            refinement = refine(train, center, power, self._divergence(), steps, use)
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
            steps=result.steps + taken,
            seconds=time.perf_counter() - self._started,
        )

    def _divergence(self) -> float:
        """A rate at which the loss diverges: in a sweep, or well above every short training that did not diverge."""
        sweeps = [found.sweep for found in self._found()]
        curves = [curve for sweep in sweeps if not (curve := Curve(sweep)).too_few]
        trained = [probe.lr for s in sweeps if s.probing for probe in s.probing.probes if probe.status == "ok"]
        return max([min(map(ceiling, curves)), *(lr / CEILING_SHARE for lr in trained)])

    def _probe_steps(self) -> int:
        """The steps of each training of --refine; a time is converted to steps at the speed of the sweeps."""
        budget = self._settings.refine_budget
        assert budget is not None
        steps = budget.steps
        if steps is None:
            sweeps = [found.sweep for found in self._found()]
            swept = sum(sweep.seconds for sweep in sweeps) / max(1, sum(sweep.steps for sweep in sweeps))
            steps = int(budget.seconds / swept)
        each = steps // len(OFFSETS)
        if each < MIN_STEPS_PER_PROBE:
            self._warnings.append(
                f"--refine {self._settings.refine} leaves time for {each} steps per training, but fewer than "
                f"{MIN_STEPS_PER_PROBE} made suggestions worse in our measurements: using {MIN_STEPS_PER_PROBE}."
            )
        return max(each, MIN_STEPS_PER_PROBE)

    def _result(self, found: Sequence[FoundBySeed]) -> LrResult:
        settings, horizon = self._settings, self._horizon
        curves = [Curve(each.sweep) for each in found]
        suggestion = suggest(curves, settings.rule, settings.use, horizon, self._epochs)
        if suggestion.lr is not None:
            suggestion = dataclasses.replace(suggestion, groups=self._work.subject.group_lrs(suggestion.lr))
        first, lengths = found[0].sweep, by_length(curves, settings.rule, horizon)
        return LrResult(
            suggestion,
            rates_of_rules(curves[0], settings.use, horizon),
            first.points,
            first.stop_reason,
            sum(each.steps for each in found),
            time.perf_counter() - self._started,
            uses=lengths[str(horizon)],
            by_length=lengths,
            coarse=coarse.points if (coarse := found[0].coarse) is not None else (),
            seeds=self._seeds(found),
            probing=first.probing,
            length_from=self._length_from,
        )

    def _record(self, result: LrResult, status: Status | None = None) -> LrRecord:
        if status is None and self._interrupted:
            status = "interrupted"
        subject, by_seed = self._work.subject, (each.warnings for each in self._found())
        warnings = [*self._length_warnings, *chain.from_iterable(by_seed), *self._warnings, *subject.warnings]
        return RunRecord(
            command="find-lr",
            status=status or ("ok" if result.suggestion.lr is not None else "inconclusive"),
            target=subject.target,
            settings=dataclasses.asdict(self._settings),
            environment=subject.environment,
            result=result,
            warnings=tuple(dict.fromkeys(warnings)),
        )

    def _seeds(self, found: Sequence[FoundBySeed]) -> tuple[SeedSweep, ...]:
        settings = self._settings
        if settings.seeds == 1:
            return ()
        return tuple(
            SeedSweep(each.seed, uses_of([Curve(each.sweep)], settings.rule, self._horizon), each.sweep.points)
            for each in found
        )


def _doubted(record: LrRecord, reservation: str) -> LrRecord:
    """A record whose suggestion is doubtful, since there are several optimizers."""
    result = record.result
    assert result is not None
    suggestion = result.suggestion
    if suggestion.lr is None:
        return record
    confidence = suggestion.confidence if suggestion.confidence == "low" else RESERVATIONS[reservation]
    suggestion = dataclasses.replace(suggestion, confidence=confidence, doubts=(*suggestion.doubts, reservation))
    return dataclasses.replace(record, result=dataclasses.replace(result, suggestion=suggestion))
