"""find_batch_size: the Python API of find-batch-size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from lrscout.api.answers import Answer, page
from lrscout.api.keywords import FindBatchSizeKeywords
from lrscout.api.targets import buildable_target, command_target, parts_of
from lrscout.report.batch_size_plot import plot_trials
from lrscout.results import BatchSizeResult, BatchStopReason, Throughput, Trial
from lrscout.runs.batch_size.search import search_batch_size
from lrscout.settings import FindBatchSizeSettings, make_settings


@dataclass(frozen=True, slots=True, repr=False)
class FindBatchSizeResult(Answer[BatchSizeResult]):
    """The answer of `find_batch_size`."""

    @property
    def batch_size(self) -> int | None:
        """The recommended size; None if there is none, and `result.reason` says why."""
        return self.result.batch_size

    @property
    def largest_fitting(self) -> int | None:
        """The largest size that ran within the budget."""
        return self.result.largest_fitting

    @property
    def fastest(self) -> Throughput | None:
        """The smallest size within 5% of the best throughput."""
        return self.result.fastest

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, in order."""
        return self.result.trials

    @property
    def stop_reason(self) -> BatchStopReason:
        """Why the search ended."""
        return self.result.stop_reason

    def plot(self, width: int = 100, height: int | None = None, *, color: bool = False) -> str:
        """Peak memory and throughput over the batch size as text plots, `width` columns wide."""
        return plot_trials(self.result, page(width, color), height)

    def __str__(self) -> str:
        return f"{self.result.answer or 'no batch size'} ({self.result.reason})"


def find_batch_size(
    target: Any = None,
    train_loader: Iterable[Any] | None = None,
    loss_fn: Callable[..., Any] | None = None,
    optimizer: Any = None,
    *,
    val_loader: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    app_dir: str | os.PathLike[str] | None = None,
    command: Sequence[str] | None = None,
    **settings: Unpack[FindBatchSizeKeywords],
) -> FindBatchSizeResult:
    """Find the largest batch size that fits and the fastest one, and restore everything that was passed in.

    `target` is a dotted path as on the command line, a function that builds the workload (with `kwargs`), or live
    objects as in `find_lr`. Trials of a path, or of a function that can be imported by its name, run in other
    processes; all others in this one. `settings` are the other options of `lrscout find-batch-size` in snake case.

    With `command` instead of a target, every trial starts a training program in the current folder, with the size in
    place of {batch_size}: `["python", "train.py", "--batch-size", "{batch_size}"]`. What it prints is not shown.

    Raises:
        UsageError: a setting is unknown or out of bounds.
        TargetError: the target does not give a workload.
        UserCodeError: the target's code raised in another process; the cause carries its traceback.
        KeyboardInterrupt: Ctrl-C, after everything has been restored.
    """
    parts, given = parts_of(
        settings, train_loader=train_loader, loss_fn=loss_fn, optimizer=optimizer, val_loader=val_loader
    )
    made = make_settings(FindBatchSizeSettings, given)
    program = command_target(command, made, target, parts, kwargs, app_dir)
    if program is not None:
        return FindBatchSizeResult.of(search_batch_size(made, program))
    found, where = buildable_target(target, kwargs, app_dir, parts)
    return FindBatchSizeResult.of(search_batch_size(made, where, found=found))
