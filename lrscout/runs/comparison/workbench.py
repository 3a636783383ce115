"""The host of a comparison's requests: it makes the runs of one process."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from lrscout.engine.averaging import WeightAverage, check_can_average
from lrscout.engine.devices import cpu_threads, device_count, device_for_worker, is_cpu
from lrscout.engine.environment import describe_environment
from lrscout.engine.fingerprint import Fingerprint
from lrscout.engine.schedulers import make_scheduler
from lrscout.engine.session import Session
from lrscout.engine.target import find_target
from lrscout.engine.training import Trainee
from lrscout.errors import UsageError
from lrscout.processes.cores import cpu_cores
from lrscout.results import Target
from lrscout.runs.comparison.common import (
    OnPoint,
    at_times,
    settings_of_sweep,
    steps_between,
    suggested,
    timed_steps,
)
from lrscout.runs.comparison.metric import metric_of
from lrscout.runs.comparison.requests import FinishedRun, Inspection, LiveTarget
from lrscout.runs.lr.live import LiveTrainer
from lrscout.runs.lr.search import search_lr
from lrscout.runs.programs import OnOutput
from lrscout.runs.targets import open_workload
from lrscout.schedules import parse_schedules
from lrscout.search.budget import Cost
from lrscout.search.comparison import PlannedRun, scored
from lrscout.search.training import evaluation_steps, run_training
from lrscout.settings import CompareSchedulersSettings


class Workbench:
    """Makes runs, one after the other, in the process it is made in."""

    def __init__(
        self, place: int, target: Target, settings: CompareSchedulersSettings, live: LiveTarget | None = None
    ) -> None:
        self._target, self._live = target, live or LiveTarget(lambda seed: open_workload(target, seed))
        self._specs = parse_schedules(settings.schedules)
        self._settings = dataclasses.replace(settings, device=device_for_worker(settings.device, place))

    def inspect(self, on_output: OnOutput = lambda line: None) -> Inspection:
        """Build the workload once and check that everything can be used, before the first run."""
        with self._session(self._settings.seed) as session:
            trainee = Trainee(session, self._metric_fn())
            for spec in self._specs:
                scheduler = make_scheduler(spec, session.driven, 1.0, self._settings.steps, self._target.app_dir)
                if spec.averaging is not None:
                    check_can_average(spec.label, session, trainee.lacks, scheduler.needs_metric)
            if self._settings.metric_fn is not None and trainee.lacks is not None:
                raise UsageError(
                    f"--metric-fn needs held-out data. {trainee.lacks}",
                    hint="Give it some, or leave out --metric-fn.",
                )
            return Inspection(
                self._target.as_dict(),
                describe_environment(session),
                trainee.lacks is None,
                session.own_lr,
                device_count(),
                cpu_cores(),
                (*session.warnings, *trainee.warnings),
                None if session.workload.val_loader is None else trainee.lacks,
            )

    def sweep(self) -> float:
        """The rate that find-lr suggests.

        Raises:
            NoAnswerError: it suggests none.
        """
        settings = settings_of_sweep(self._settings)
        with self._threads():
            trainer = LiveTrainer(self._live.build(settings.seed), settings, self._target)
            return suggested(search_lr(trainer, settings))

    def measure_cost(self) -> Cost:
        """What a run costs, from a few steps."""
        started = time.perf_counter()
        with self._session(self._settings.seed) as session:
            trainee = Trainee(session, self._metric_fn())
            warm, step_seconds = timed_steps(trainee)
            stepped = time.perf_counter()
            trainee.evaluate()
            evaluated = time.perf_counter()
        return Cost(warm - started, step_seconds, evaluated - stepped)

    def run(self, plan: PlannedRun, steps: int, jobs: int, on_point: OnPoint) -> FinishedRun:
        """Make one run; `jobs` of them share a machine at the same time."""
        spec, settings = self._specs[plan.schedule], self._settings
        with self._session(plan.seed, jobs) as session:
            began, average = Fingerprint(session), None
            if spec.averaging is not None:
                average = WeightAverage(session, spec.averaging.first_step(steps))
            trainee = Trainee(session, self._metric_fn(), average=average)
            schedule = make_scheduler(spec, session.driven, plan.peak_lr, steps, self._target.app_dir)
            evaluated = set(evaluation_steps(steps, settings.evaluations))
            if schedule.needs_metric:
                evaluated |= set(steps_between(steps, settings))
            elif trainee.lacks is not None:
                evaluated = set()
            result = run_training(
                trainee,
                schedule,
                steps,
                evaluated,
                larger_is_better=settings.metric_mode == "max",
                on_point=at_times(on_point),
            )
            metric = metric_of(settings, held_out=trainee.lacks is None)
            return FinishedRun(scored(plan, spec, result, metric, began.text()), (*session.warnings, *trainee.warnings))

    @contextmanager
    def _session(self, seed: int, jobs: int = 1) -> Iterator[Session]:
        """The workload, built anew, in an open session."""
        with self._threads(jobs):
            session = Session(self._live.build(seed), dataclasses.replace(self._settings, seed=seed))
            with session.open():
                yield session

    def _metric_fn(self) -> Callable[..., Any] | None:
        if self._settings.metric_fn is None or self._live.metric_fn is not None:
            return self._live.metric_fn
        found = find_target(Target(self._settings.metric_fn, {}, self._target.app_dir))
        if not callable(found):
            raise UsageError(
                f"--metric-fn {self._settings.metric_fn} must be a function, not {type(found).__name__!r}."
            )
        return found  # type: ignore[no-any-return]

    def _threads(self, jobs: int = 1) -> AbstractContextManager[None]:
        if self._settings.threads is not None:
            return cpu_threads(self._settings.threads)
        if is_cpu(self._settings.device):
            return cpu_threads(1)
        return cpu_threads(None if jobs == 1 else max(1, cpu_cores() // jobs))
