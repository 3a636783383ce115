"""What a run costs the process that makes them: time, memory, and the record, with runs that do nothing.

python tests/benchmarks/scaling/driver.py [here|jobs|ray] [runs]
"""

from __future__ import annotations

import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from nothing import Nothing

from lrscout.commands.invocation import Invocation
from lrscout.commands.run import Run
from lrscout.commands.signals import EndingSignals
from lrscout.processes.executor import InProcess
from lrscout.processes.pool import WorkerPool
from lrscout.processes.ray_cluster import Needs, RayCluster
from lrscout.processes.ray_engine import RayExecutor
from lrscout.processes.start import make_starter
from lrscout.report.output import Output
from lrscout.results import CompareRecord, Target
from lrscout.runs.comparison.observer import ComparisonObserver
from lrscout.runs.comparison.requests import Inspection
from lrscout.runs.comparison.search import _Comparison
from lrscout.settings import CompareSchedulersSettings

SCHEDULES = tuple(f"cosine:min_ratio={i / 100}" for i in range(20))
HERE = os.path.dirname(os.path.abspath(__file__))


class Observer(ComparisonObserver):
    """Keeps the record as the command does, and notes how far it is."""

    def __init__(self, run: Run, total: int) -> None:
        self._run, self._total, self._began, self._before = run, total, time.perf_counter(), 0.0

    def keep(self, so_far: Callable[[], CompareRecord]) -> None:
        self._run.keep(so_far, at_once=True)

    def finished(self, run: Any, done: int, total: int, seconds_left: float | None) -> None:
        if done % (self._total // 5) == 0:
            now = time.perf_counter() - self._began
            each = (now - self._before) / (self._total // 5)
            self._before = now
            size = os.path.getsize(self._run._path or "/dev/null") / 1e6
            told = f"{done:>6} runs  {now:6.1f} s  {1e3 * each:6.2f} ms a run  {resident():6.1f} MB"
            print(f"{told}  record {size:.1f} MB", flush=True)


def resident() -> float:
    """Megabytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def executor_of(kind: str, settings: CompareSchedulersSettings) -> Any:
    if kind == "here":
        return InProcess(Nothing(0, settings))
    if kind == "jobs":
        return WorkerPool(make_starter(preloaded="nothing"), Nothing, (settings,), workers=2, attempts=2)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")]))
    return RayExecutor(RayCluster(None, HERE), Nothing, (settings,), Needs(), folder=HERE, attempts=4)


def main(kind: str, runs: int) -> None:
    settings = CompareSchedulersSettings(
        schedules=SCHEDULES, seeds=runs // len(SCHEDULES), lr_mode="shared", lr=0.1, steps=300
    )
    inspection = Inspection({"target": "nothing:build"}, {}, False, 0.1, 0, 1, ())
    target = Target("nothing:build", {}, None)
    with tempfile.TemporaryDirectory() as folder, closing(executor_of(kind, settings)) as executor:
        invocation = Invocation(target, settings, Path(folder) / "run.json", {}, "quiet", None, False, "never", {}, {})
        output = Output(io.StringIO(), io.StringIO(), mode="quiet", width=None, verbose=False, color="never")
        run = Run("compare-schedulers", invocation, output, EndingSignals())
        print(f"{kind}: {runs} runs, {executor.workers} at a time, {resident():.1f} MB before")
        began = time.perf_counter()
        comparison = _Comparison(executor, inspection, target, settings, Observer(run, runs), None, time.monotonic())
        comparison.go()
        made = time.perf_counter()
        run._save(comparison.record("ok"))
        seconds = time.perf_counter() - made
        size = os.path.getsize(run._path or "/dev/null") / 1e6
        print(f"all in {made - began:.1f} s, the last record of {size:.1f} MB in {seconds:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "here", int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
