"""Who makes the runs of a comparison: this process, or several others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from lrscout.api.workbench import Inspection, Live, Made, Workbench
from lrscout.engine.workers import Call, Died, Pool
from lrscout.errors import LrscoutError, WorkloadError
from lrscout.results import Target, TrainingPoint
from lrscout.schedules import parse_schedules
from lrscout.search.budget import Cost
from lrscout.search.comparison import PlannedRun, failed
from lrscout.settings import CompareSchedulersSettings

Report = Callable[[int, TrainingPoint], None]
"""Hears of some steps of the run with this number in its list."""


class Runner(Protocol):
    """Makes the runs of a comparison."""

    jobs: int  # at the same time

    def inspect(self) -> Inspection:
        """Build the workload once, and find out what cannot be used before the first run."""

    def sweep(self) -> float:
        """The rate that find-lr suggests."""

    def probe(self) -> Cost:
        """What a run costs."""

    def run(self, plans: Sequence[PlannedRun], steps: int, report: Report) -> Iterator[tuple[PlannedRun, Made]]:
        """Make these runs, in any order."""

    def close(self) -> None:
        """End what was started for it."""


class Here:
    """Runs one after the other in this process."""

    jobs = 1

    def __init__(self, target: Target, settings: CompareSchedulersSettings, live: Live | None = None) -> None:
        bench = Workbench(0, target, settings, live)
        self._bench = bench
        self.inspect, self.sweep, self.probe = bench.inspect, bench.sweep, bench.probe

    def run(self, plans: Sequence[PlannedRun], steps: int, report: Report) -> Iterator[tuple[PlannedRun, Made]]:
        for number, plan in enumerate(plans):
            yield plan, self._bench.run(plan, steps, 1, partial(report, number))

    def close(self) -> None:
        pass


class Elsewhere:
    """Runs in `jobs` processes at the same time; None: as many as there are accelerators, or else cores."""

    def __init__(self, target: Target, settings: CompareSchedulersSettings, jobs: int | None) -> None:
        self._specs = parse_schedules(settings.schedules)
        self._asks = jobs is None
        self.jobs = jobs or 1
        self._pool = Pool(Workbench, (target, settings), explained, self.jobs)

    def inspect(self) -> Inspection:
        found: Inspection = self._ask("inspect", self._pool.count)  # which lets all of them load the target at once
        if self._asks:
            self.jobs = self._pool.count = found.devices or found.cores
        return found

    def sweep(self) -> float:
        return self._ask("sweep")  # type: ignore[no-any-return]

    def probe(self) -> Cost:
        return self._ask("probe")  # type: ignore[no-any-return]

    def _ask(self, method: str, times: int = 1) -> Any:
        for _, answer in list(self._pool.run([Call(method)] * times)):
            if isinstance(answer, Died):
                raise WorkloadError(f"The process that was to {method} the target {answer.reason}, twice.")
        return answer

    def run(self, plans: Sequence[PlannedRun], steps: int, report: Report) -> Iterator[tuple[PlannedRun, Made]]:
        calls = [Call("run", (plan, steps, self.jobs)) for plan in plans]
        for number, answer in self._pool.run(calls, report):
            plan = plans[number]
            if isinstance(answer, Died):
                answer = Made(failed(plan, self._specs[plan.schedule], answer.reason), ())
            yield plan, answer

    def close(self) -> None:
        self._pool.close()


def explained(error: BaseException) -> Exception:
    """What a run in another process raised, as an error that can travel here with the user's traceback."""
    from lrscout.report.user_errors import user_traceback

    if isinstance(error, LrscoutError) and not (error.shows_cause and error.__cause__ is not None):
        return type(error)(error.message, hint=error.hint)
    cause = error.__cause__ if isinstance(error, LrscoutError) and error.__cause__ is not None else error
    kind = type(error) if isinstance(error, LrscoutError) else WorkloadError
    return kind(f"In a process of its own the target raised {type(cause).__name__}.", hint=user_traceback(cause))
