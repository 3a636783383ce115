"""The runs of a comparison as they are made in one process."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrscout.api.targets import open_workload
from lrscout.errors import NoAnswerError, UsageError
from lrscout.results import ComparedRun, Metric, Target, TrainingPoint
from lrscout.schedules import parse_schedules
from lrscout.search.budget import Cost
from lrscout.search.comparison import PlannedRun, scored
from lrscout.search.training import evaluation_steps, run_training
from lrscout.settings import CompareSchedulersSettings, FindLrSettings, SessionSettings, fields_of

if TYPE_CHECKING:
    from lrscout.engine.session import Session
    from lrscout.engine.workload import Workload

REPORT_SECONDS = 0.1  # between two reports of a run under way
EVAL_SHARE = 20  # evaluations of a schedule that goes by them, over the whole run
PROBE_STEPS = 20  # timed, after five more

Report = Callable[[TrainingPoint], None]


@dataclass(frozen=True, slots=True)
class Live:
    """What only this process can use: objects that were handed over in Python."""

    build: Callable[[int], Workload]  # makes the workload anew, with everything seeded
    metric_fn: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of a target before the first run."""

    environment: Mapping[str, Any]
    held_out: bool
    own_lr: float  # the largest rate of the optimizer's groups
    devices: int  # accelerators
    cores: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A run with what is worth knowing about it."""

    run: ComparedRun
    warnings: tuple[str, ...]


class Workbench:
    """Makes runs, one after the other, in the process that it is made in; `report` hears of them under way."""

    def __init__(
        self, place: int, target: Target, settings: CompareSchedulersSettings, live: Live | None = None
    ) -> None:
        from lrscout.engine.devices import device_of

        self._target, self._live = target, live or Live(lambda seed: open_workload(target, seed))
        self._specs = parse_schedules(settings.schedules)
        self._settings = dataclasses.replace(settings, device=device_of(settings.device, place))

    def inspect(self, report: object = None) -> Inspection:
        from lrscout.engine.devices import cpu_cores, device_count
        from lrscout.engine.environment import describe_environment
        from lrscout.engine.schedulers import make_scheduler

        with self._session(self._settings.seed) as session:
            for spec in self._specs:
                make_scheduler(spec, session.optimizers, 1.0, self._settings.steps, self._target.app_dir)
            held_out = session.workload.val_loader is not None
            if self._settings.metric_fn is not None and not held_out:
                raise UsageError(
                    "--metric-fn needs held-out data, and the target has no val_loader.",
                    hint="Give the target a val_loader.",
                )
            self._metric_fn()
            environment = describe_environment(session)
            return Inspection(environment, held_out, session.own_lr, device_count(), cpu_cores(), session.warnings)

    def sweep(self, report: object = None) -> float:
        from lrscout.api.lr_search import search_lr

        names = [field.name for field in fields_of(SessionSettings)]
        shared = {name: getattr(self._settings, name) for name in names}
        settings = FindLrSettings(horizon=self._settings.steps, **shared)
        with self._threads():
            record = search_lr(self._live.build(settings.seed), settings, self._target)
        if record.status == "interrupted":
            raise KeyboardInterrupt
        assert record.result is not None
        suggestion = record.result.suggestion
        if suggestion.lr is None:
            raise NoAnswerError(
                f"find-lr's sweep suggests no rate to begin with: {suggestion.reason}",
                hint="Give one by --lr; lrscout find-lr alone has the flags of the sweep.",
            )
        return float(suggestion.lr)

    def probe(self, report: object = None) -> Cost:
        from lrscout.engine.training import Trainee

        started = time.perf_counter()
        with self._session(self._settings.seed) as session:
            trainee = Trainee(session, self._metric_fn())
            for _ in range(5):
                trainee.step()
            trainee.losses(wait=True)
            opened = time.perf_counter()
            for _ in range(PROBE_STEPS):
                trainee.step()
            trainee.losses(wait=True)
            stepped = time.perf_counter()
            trainee.evaluate()
            evaluated = time.perf_counter()
        return Cost(opened - started, (stepped - opened) / PROBE_STEPS, evaluated - stepped)

    def run(self, plan: PlannedRun, steps: int, jobs: int, report: Report) -> Made:
        """Make one run, while `jobs` of them go on at the same time."""
        from lrscout.engine.fingerprint import Fingerprint
        from lrscout.engine.schedulers import make_scheduler
        from lrscout.engine.training import Trainee

        spec, settings = self._specs[plan.schedule], self._settings
        with self._session(plan.seed, jobs) as session:
            began = Fingerprint(session)
            schedule = make_scheduler(spec, session.optimizers, plan.peak_lr, steps, self._target.app_dir)
            evaluated = set(evaluation_steps(steps, settings.evaluations))
            if schedule.needs_metric:
                every = settings.eval_every or max(1, steps // EVAL_SHARE)
                evaluated |= set(range(every - 1, steps, every))
            elif session.workload.val_loader is None:
                evaluated = set()
            result = run_training(
                Trainee(session, self._metric_fn()),
                schedule,
                steps,
                evaluated,
                larger_is_better=settings.mode == "max",
                on_point=_at_times(report),
            )
            metric = metric_of(settings, session.workload.val_loader is not None)
            return Made(scored(plan, spec, result, metric, began.hexdigest()), session.warnings)

    @contextmanager
    def _session(self, seed: int, jobs: int = 1) -> Iterator[Session]:
        """The workload, built anew, in an open session."""
        from lrscout.engine.session import Session

        with self._threads(jobs):
            session = Session(self._live.build(seed), dataclasses.replace(self._settings, seed=seed))
            with session.open():
                yield session

    def _metric_fn(self) -> Callable[..., Any] | None:
        if self._settings.metric_fn is None or self._live.metric_fn is not None:
            return self._live.metric_fn
        from lrscout.engine.target import find_target

        found = find_target(Target(self._settings.metric_fn, {}, self._target.app_dir))
        if not callable(found):
            raise UsageError(f"--metric-fn {self._settings.metric_fn} is {type(found).__name__!r} and no function.")
        return found  # type: ignore[no-any-return]

    def _threads(self, jobs: int = 1) -> AbstractContextManager[None]:
        from lrscout.engine.devices import cpu_cores, cpu_threads, is_cpu

        if self._settings.threads is not None:
            return cpu_threads(self._settings.threads)
        if is_cpu(self._settings.device):
            return cpu_threads(1)
        return cpu_threads(None if jobs == 1 else max(1, cpu_cores() // jobs))


def metric_of(settings: CompareSchedulersSettings, held_out: bool) -> Metric:
    """What the runs are compared by."""
    name = settings.metric_fn or ("held-out loss" if held_out else "training loss")
    return Metric(name, "max" if settings.mode == "max" else "min", held_out)


def _at_times(report: Report) -> Report:
    """The same, but only a few times a second."""
    following = 0.0

    def sometimes(point: TrainingPoint) -> None:
        nonlocal following
        now = time.monotonic()
        if now >= following:
            following = now + REPORT_SECONDS
            report(point)

    return sometimes
