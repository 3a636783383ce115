"""compare-schedulers: the Python API."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrscout.api.answers import Answer
from lrscout.api.comparison import search_schedules
from lrscout.api.targets import parts_of, target_of, workload_from
from lrscout.api.workbench import Live
from lrscout.errors import UsageError
from lrscout.results import ComparedRun, CompareResult, RankedSchedule
from lrscout.settings import CompareSchedulersSettings, make_settings


@dataclass(frozen=True, slots=True, repr=False)
class CompareSchedulersResult(Answer):
    """The answer of `compare_schedulers`."""

    result: CompareResult

    @property
    def ranking(self) -> tuple[RankedSchedule, ...]:
        """The schedules, the best first."""
        return self.result.ranking

    @property
    def runs(self) -> tuple[ComparedRun, ...]:
        """Every run that was made, those that chose a rate first."""
        return self.result.runs

    def plot(self, width: int = 100, *, color: bool = False) -> str:
        """The loss of every schedule as text plots, `width` columns wide."""
        from lrscout.report.compare_plot import plot_schedules_losses
        from lrscout.report.terminal import Style

        return plot_schedules_losses(self.result, Style(width=width, color=color, unicode=True, live=False))

    def __str__(self) -> str:
        from lrscout.report.compare_schedulers import headline

        return headline(self.record)


def compare_schedulers(
    target: Any,
    train_loader: Iterable[Any] | None = None,
    loss_fn: Callable[..., Any] | None = None,
    optimizer: Any = None,
    *,
    schedules: Sequence[str | Mapping[str, Any]] | None = None,
    metric_fn: str | Callable[..., Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    app_dir: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> CompareSchedulersResult:
    """Compare learning-rate schedules by short runs; whatever was handed in comes back as it was.

    `target` is a dotted path as on the command line or a function that builds the workload (both with `kwargs`), or
    anything that `find_lr` takes. Only the first two are built anew for every run: with objects that are built
    already, all seeds begin with the same weights. `settings` are the other flags of `lrscout compare-schedulers` in
    snake case; `jobs` needs a dotted path. No file is written.

    Raises:
        UsageError: a setting that does not exist or is out of its bounds.
        TargetError: the target does not give a workload.
        WorkloadError: the workload cannot be stepped.
        KeyboardInterrupt: Ctrl-C, after everything was put back.
    """
    parts, settings = parts_of(settings, train_loader=train_loader, loss_fn=loss_fn, optimizer=optimizer)
    if schedules is not None:
        settings["schedules"] = schedules
    if metric_fn is not None:
        settings["metric_fn"] = metric_fn if isinstance(metric_fn, str) else _name(metric_fn)
    made = make_settings(CompareSchedulersSettings, settings)
    builds = callable(target) and not hasattr(target, "named_parameters")  # a model is no function
    where = target_of(target, None if builds else kwargs, app_dir)
    live = None
    if where.path is None or callable(metric_fn):
        if made.jobs != "1":
            raise UsageError("jobs needs a dotted path: other processes cannot see these objects.")
        build = _factory(target, kwargs or {}) if builds and not parts else None
        live = Live(build or _same(target, where, parts, made.seed), metric_fn if callable(metric_fn) else None)
    from lrscout.engine.randomness import preserved_random_state

    with preserved_random_state():
        record = search_schedules(where, made, live=live)
    assert record.result is not None
    if record.status == "interrupted":
        raise KeyboardInterrupt
    return CompareSchedulersResult(record, record.result)


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


def _factory(build: Callable[..., Any], kwargs: Mapping[str, Any]) -> Callable[[int], Any]:
    """Builds with a function, everything seeded."""

    def built(seed: int) -> Any:
        from lrscout.engine.randomness import seed_everything
        from lrscout.engine.workload import make_workload

        seed_everything(seed)
        return make_workload(build(**kwargs))

    return built


def _same(target: Any, where: Any, parts: Mapping[str, Any], seed: int) -> Callable[[int], Any]:
    """Gives a dotted path's workload anew, and live objects again and again: a session puts them back."""
    if where.path is not None:
        return lambda seed: workload_from(target, where, parts, seed)
    workload = workload_from(target, where, parts, seed)
    return lambda seed: workload
