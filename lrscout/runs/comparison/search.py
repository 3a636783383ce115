"""The comparison behind compare-schedulers: find the rates, make the runs, rank, make the record."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from contextlib import closing

from lrscout.processes.deaths import Died
from lrscout.processes.executor import Executor
from lrscout.results import (
    CommandTarget,
    ComparedRun,
    CompareRecord,
    CompareResult,
    Metric,
    RankedSchedule,
    RateRange,
    RunRecord,
    Status,
    Target,
    TrainingPoint,
)
from lrscout.runs.comparison.executors import open_command, open_target, rate_to_start_from
from lrscout.runs.comparison.metric import metric_of
from lrscout.runs.comparison.observer import ComparisonObserver
from lrscout.runs.comparison.requests import FinishedRun, Host, Inspection, LiveTarget, MakeRun, MeasureCost
from lrscout.runs.comparison.warnings import warnings_about
from lrscout.schedules import parse_schedules, schedule_among
from lrscout.search.agenda import Agenda
from lrscout.search.budget import Plan, fit_to_budget, runs_of
from lrscout.search.comparison import PlannedRun, began_alike, failed, rank
from lrscout.search.tuning import Tuning, tuning_seeds
from lrscout.settings import CompareSchedulersSettings


def compare(
    target: Target | CommandTarget,
    settings: CompareSchedulersSettings,
    observer: ComparisonObserver | None = None,
    before: CompareResult | None = None,
    live: LiveTarget | None = None,
) -> CompareRecord:
    """Compare the schedules on a target, or in a training command; `before` has runs to reuse.

    Ctrl-C after the inspection gives the status `interrupted`.
    """
    observer, began = observer or ComparisonObserver(), time.monotonic()
    if isinstance(target, CommandTarget):
        executor, inspection = open_command(target, settings, observer)
    else:
        executor, inspection = open_target(target, settings, live)
    observer.opened()
    if inspection.no_val_loss is not None:
        observer.say(f"{inspection.no_val_loss} Comparing training losses.")
    with closing(executor):
        comparison = _Comparison(executor, inspection, target, settings, observer, before, began)
        try:
            comparison.go()
        except KeyboardInterrupt:
            return comparison.record("interrupted")
    return comparison.record(comparison.status)


class _Comparison:
    """A comparison in progress: its runs so far and the record they make."""

    def __init__(
        self,
        executor: Executor[Host],
        inspection: Inspection,
        target: Target | CommandTarget,
        settings: CompareSchedulersSettings,
        observer: ComparisonObserver,
        before: CompareResult | None,
        began: float,
    ) -> None:
        self._executor, self._inspection, self._observer, self._before = executor, inspection, observer, before
        self._target, self._settings = target, settings
        self._specs = parse_schedules(settings.schedules)
        self._metric: Metric = metric_of(settings, inspection.held_out)
        self._known = {_key(run): run for run in before.runs if run.status != "failed"} if before is not None else {}
        self._runs: dict[PlannedRun, ComparedRun] = {}
        self._warnings = dict.fromkeys(inspection.warnings)
        self._peaks: list[float] = []  # once all are known
        self._ranges: dict[str, RateRange | None] = {}
        self._center: float | None = before.center_lr if before is not None else settings.lr
        self._steps, self._seeds = settings.steps, 1 if inspection.ignores_seed else settings.seeds
        self._began, self._made, self._started = began, 0, time.monotonic()

    def go(self) -> None:
        """Find the rates, then score them."""
        settings = self._settings
        tuned = settings.lr_mode == "tune"
        if self._center is None and settings.lr_mode != "fixed":
            self._observer.say("No --lr given: finding one with find-lr.")
            self._observer.phase("finding a rate")
            self._center, problem = rate_to_start_from(self._executor, self._inspection)
            if problem is not None:
                self._observer.say("find-lr suggests none: starting from the optimizer's own rate.")
                self._warnings[problem] = None
        self._fit_budget(tuned)
        self._tell_cost(tuned)
        count, lr = len(self._specs), self._center if self._center is not None else self._inspection.own_lr
        seeds = range(settings.seed + 1, settings.seed + 1 + self._seeds)  # the tuning seed is not scored
        tuning_with = tuning_seeds(settings.seed)[: 1 if self._inspection.ignores_seed else None]
        sign = -1.0 if self._metric.mode == "max" else 1.0
        tuning = Tuning(count, lr, tuning_with, lambda final: sign * final) if tuned else None
        self._make_runs(Agenda(count, seeds, tuning, lr))
        self._warnings |= dict.fromkeys(
            warnings_about(self._runs, self._specs, self._settings, self._seeds, self._peaks, self._target)
        )

    def _fit_budget(self, tuned: bool) -> None:
        settings, before, seconds = self._settings, self._before, self._settings.time_budget_seconds
        asked = self._steps, self._seeds
        if seconds is not None and before is not None:
            self._steps, self._seeds = before.steps, before.seeds
        elif seconds is not None:
            self._observer.phase("timing a few steps")
            cost = self._executor.ask(MeasureCost())
            left = seconds - (time.monotonic() - self._began)  # inspecting and measuring a command takes three starts
            plan = Plan(
                schedules=len(self._specs),
                seeds=self._seeds,
                steps=self._steps,
                evaluations=settings.evaluations,
                tuned=tuned,
                jobs=self._executor.workers,
            )
            plan = fit_to_budget(plan, cost, left)
            self._steps, self._seeds = plan.steps, plan.seeds
        if (self._steps, self._seeds) != asked:
            fits = f"--time-budget {settings.time_budget}: {self._seeds} seeds of {self._steps} steps"
            self._warnings[f"{fits} instead of {asked[1]} of {asked[0]}."] = None

    def _tell_cost(self, tuned: bool) -> None:
        count, jobs = len(self._specs), self._executor.workers
        runs = runs_of(count, self._seeds, tuned)
        cost = f"{runs} runs x {self._steps} = {runs * self._steps} steps: {count} schedules x {self._seeds} seeds"
        if tuned:
            # noise and the edges of the grids may ask for more
            cost += f", about {runs - count * self._seeds} to tune"
        self._observer.say(f"{cost}, {jobs} at a time" if jobs > 1 else cost)
        kept = len(self._known)
        if kept:
            self._observer.say(f"Reusing {kept} runs of the earlier comparison.")
        elif (
            jobs == 1
            and self._settings.engine == "here"
            and not self._inspection.devices
            and self._inspection.cores > 1
            and self._target.label
        ):
            self._observer.say(f"--jobs auto would run {self._inspection.cores} at a time.")

    def _make_runs(self, agenda: Agenda) -> None:
        """Make all runs that are not known."""
        plans: list[PlannedRun] = []
        requests: list[MakeRun] = []  # which grow while they are performed
        taken: Counter[int] = Counter()

        def go_on() -> None:
            while wanted := agenda.next(self._executor.workers - len(plans) + self._made):
                for plan in wanted:
                    run = self._known.get((self._specs[plan.schedule].label, plan.seed, plan.peak_lr, plan.role))
                    if run is None:
                        plans.append(plan)
                        requests.append(MakeRun(plan, self._steps, self._executor.sharing))
                    else:
                        self._runs[plan] = run
                        agenda.ended(plan, run)
            if agenda.is_tuned and not self._peaks:
                rates = [agenda.rates[i] for i in range(len(self._specs))]
                self._peaks = [rate.lr for rate in rates]
                self._ranges = {spec.label: rate.range for spec, rate in zip(self._specs, rates)}
                if self._made:
                    self._observer.phase("scoring")

        def report(number: int, point: TrainingPoint) -> None:
            taken[number] = point.step + 1
            step(taken.total(), point.lr, point.loss)

        go_on()
        if self._runs or self._center != self._settings.lr:  # the rate was found, which takes a sweep
            self._keep()
        if not requests:
            return
        self._started = time.monotonic()
        with self._observer.stretch("scoring" if agenda.is_tuned else "tuning") as step:
            self._observer.planned((self._made + agenda.left) * self._steps)
            for number, answer in self._executor.run(requests, report):
                taken[number], made = self._steps, self._finished(plans[number], answer)
                agenda.ended(plans[number], made.run)
                self._add(plans[number], made, agenda.left)
                go_on()
                self._observer.planned((self._made + agenda.left) * self._steps)

    def _finished(self, plan: PlannedRun, answer: FinishedRun | Died) -> FinishedRun:
        if not isinstance(answer, Died):
            if answer.error is not None and all(run.status == "failed" for run in self._runs.values()):
                raise answer.error
            return answer
        return FinishedRun(failed(plan, self._specs[plan.schedule], f"its process {answer}"))

    def _add(self, plan: PlannedRun, made: FinishedRun, left: int) -> None:
        self._runs[plan] = made.run
        self._warnings |= dict.fromkeys(made.warnings)
        self._made += 1
        seconds = (time.monotonic() - self._started) / self._made * left
        done = len(self._runs)
        self._observer.finished(made.run, done, done + left, seconds if left else None)
        self._keep()

    def _keep(self) -> None:
        self._observer.keep(lambda: self.record("interrupted"))

    @property
    def status(self) -> Status:
        """`inconclusive` if no run completed."""
        scores = [run for run in self._runs.values() if run.role == "score"]
        return "ok" if any(run.final is not None for run in scores) else "inconclusive"

    def record(self, status: Status) -> CompareRecord:
        """The record of the runs so far."""
        settings = self._settings
        used = list(self._runs.values())
        ranking: tuple[RankedSchedule, ...] = ()
        baseline = None
        if self._peaks and any(run.role == "score" for run in used):
            asked = None if settings.baseline is None else schedule_among(settings.baseline, self._specs).label
            ranking, baseline = rank(
                self._specs,
                self._peaks,
                used,
                self._metric.mode,
                baseline=asked,
                min_effect=settings.min_effect,
                ranges=self._ranges,
            )
        if status == "interrupted":  # keep what the earlier comparison made and this one has not reached yet
            labels, keys = {spec.label for spec in self._specs}, {_key(run) for run in used}
            used += [run for key, run in self._known.items() if run.label in labels and key not in keys]
        runs = tuple(sorted(used, key=self._place))
        result = CompareResult(
            ranking=ranking,
            runs=runs,
            metric=self._metric,
            baseline=baseline,
            paired=began_alike(runs),
            steps_total=sum(run.points[-1].step + 1 for run in runs if run.points),
            steps=self._steps,
            seeds=self._seeds,
            center_lr=self._center,
            seconds=math.fsum(run.seconds for run in runs),
        )
        return RunRecord(
            command="compare-schedulers",
            status=status,
            target=self._inspection.target,
            settings=dataclasses.asdict(settings),
            environment=self._inspection.environment,
            result=result,
            warnings=tuple(self._warnings),
        )

    def _place(self, run: ComparedRun) -> tuple[bool, int, int, float]:
        """Its position in the record, whatever order the runs were made in."""
        labels = [spec.label for spec in self._specs]
        return run.role == "score", run.seed, labels.index(run.label), run.peak_lr


def _key(run: ComparedRun) -> tuple[str, int, float, str]:
    return run.label, run.seed, run.peak_lr, run.role
