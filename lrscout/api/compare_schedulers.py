"""compare_schedulers: the Python API of compare-schedulers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from lrscout.api.answers import Answer, page
from lrscout.api.keywords import CompareSchedulersKeywords
from lrscout.api.targets import (
    buildable_target,
    builder,
    check_importable,
    command_target,
    importable_path,
    name_of,
    parts_of,
)
from lrscout.report.compare_plot import plot_schedules_losses
from lrscout.report.compare_schedulers import headline
from lrscout.results import ComparedRun, CompareResult, RankedSchedule, Target
from lrscout.runs.comparison.requests import LiveTarget
from lrscout.runs.comparison.search import compare
from lrscout.settings import CompareSchedulersSettings, make_settings


@dataclass(frozen=True, slots=True, repr=False)
class CompareSchedulersResult(Answer[CompareResult]):
    """The answer of `compare_schedulers`."""

    @property
    def ranking(self) -> tuple[RankedSchedule, ...]:
        """The schedules, the best first."""
        return self.result.ranking

    @property
    def runs(self) -> tuple[ComparedRun, ...]:
        """All runs, those that tuned a rate first."""
        return self.result.runs

    def plot(self, width: int = 100, *, color: bool = False) -> str:
        """The loss of every schedule as text plots, `width` columns wide."""
        return plot_schedules_losses(self.result, page(width, color))

    def __str__(self) -> str:
        return headline(self.record)


def compare_schedulers(
    target: Any = None,
    train_loader: Iterable[Any] | None = None,
    loss_fn: Callable[..., Any] | None = None,
    optimizer: Any = None,
    *,
    val_loader: Iterable[Any] | None = None,
    schedules: Sequence[str | Mapping[str, Any]] | None = None,
    metric_fn: str | Callable[..., Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    app_dir: str | os.PathLike[str] | None = None,
    command: Sequence[str] | None = None,
    **settings: Unpack[CompareSchedulersKeywords],
) -> CompareSchedulersResult:
    """Compare learning-rate schedules by short runs, and restore everything that was passed in.

    `target` is a dotted path as on the command line, a function that builds the workload (both with `kwargs`), or
    anything that `find_lr` takes. Only the first two are built anew for each run: live objects begin with the same
    weights for every seed. `settings` are the other options of `lrscout compare-schedulers` in snake case; `jobs`
    needs a dotted path or a function that can be imported by its name. No file is written.

    With `command` instead of a target, every run starts a training program in the current folder, with its seed in the
    place of {seed}: `["python", "train.py", "--seed", "{seed}"]`. What it prints is not shown.

    Raises:
        UsageError: a setting is unknown or out of bounds.
        TargetError: the target does not give a workload.
        WorkloadError: the workload cannot be trained.
        KeyboardInterrupt: Ctrl-C, after everything has been restored.
    """
    parts, given = parts_of(
        settings, train_loader=train_loader, loss_fn=loss_fn, optimizer=optimizer, val_loader=val_loader
    )
    if schedules is not None:
        given["schedules"] = schedules
    if metric_fn is not None:
        given["metric_fn"] = (
            metric_fn if isinstance(metric_fn, str) else importable_path(metric_fn) or name_of(metric_fn)
        )
    made = make_settings(CompareSchedulersSettings, given)
    program = command_target(command, made, target, parts, kwargs, app_dir)
    if program is not None:
        return CompareSchedulersResult.of(compare(program, made))
    found, where = buildable_target(target, kwargs, app_dir, parts)
    live = _live_target(target, metric_fn, found, where, made)
    from lrscout.engine.randomness import preserved_random_state

    with preserved_random_state():
        return CompareSchedulersResult.of(compare(where, made, live=live))


def _live_target(
    target: Any, metric_fn: str | Callable[..., Any] | None, found: Any, where: Target, made: CompareSchedulersSettings
) -> LiveTarget | None:
    """The objects to make the runs with; None if the dotted path is enough.

    Raises:
        UsageError: other processes make the runs, but cannot import these objects.
    """
    function = metric_fn if callable(metric_fn) else None
    if made.is_here:
        return LiveTarget(builder(found, where), function) if found is not None or function is not None else None
    check_importable(made, target, where.path)
    check_importable(made, function, importable_path(function))
    return None
