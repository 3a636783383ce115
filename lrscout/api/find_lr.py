"""find-lr: the Python API, and the search behind both it and the command."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Unpack

from lrscout.api.answers import Answer
from lrscout.api.keywords import FindLrKeywords
from lrscout.api.targets import parts_of, target_of, workload_from
from lrscout.results import (
    LrResult,
    StopReason,
    Suggestion,
    SweepPoint,
)
from lrscout.settings import FindLrSettings, make_settings


@dataclass(frozen=True, slots=True, repr=False)
class FindLrResult(Answer):
    """The answer of `find_lr`."""

    result: LrResult

    @property
    def suggestion(self) -> Suggestion:
        """The headline; its `lr` is None where the sweep does not answer, and its `reason` says why."""
        return self.result.suggestion

    @property
    def suggestions(self) -> Mapping[str, float | None]:
        """Every rule's rate."""
        return self.result.suggestions

    @property
    def points(self) -> tuple[SweepPoint, ...]:
        """The sweep, step by step."""
        return self.result.points

    @property
    def stop_reason(self) -> StopReason:
        """Why the sweep ended: completed, diverged, non_finite."""
        return self.result.stop_reason

    def plot(self, width: int = 100, height: int | None = None, *, color: bool = False) -> str:
        """The sweep as a text plot, `width` columns wide."""
        from lrscout.report.lr_plot import plot_sweep
        from lrscout.report.terminal import Style

        return plot_sweep(self.result, Style(width=width, color=color, unicode=True, live=False), height)

    def __str__(self) -> str:
        return f"{self.suggestion.lr} ({self.suggestion.reason})"


def find_lr(
    target: Any,
    train_loader: Iterable[Any] | None = None,
    loss_fn: Callable[..., Any] | None = None,
    optimizer: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    app_dir: str | os.PathLike[str] | None = None,
    **settings: Unpack[FindLrKeywords],
) -> FindLrResult:
    """Suggest a learning rate by a short sweep; whatever was handed in comes back as it was.

    `target` is a Workload, a dict or tuple in its form, a model (with `train_loader` and, as they are needed,
    `loss_fn` and `optimizer`), or a dotted path as on the command line (with `kwargs` and `app_dir`). `optimizer`
    is an Optimizer, a function that makes one from the parameters, or the name of one (as `--optimizer`).
    `settings` are the other flags of `lrscout find-lr` in snake case. No file is written.

    Raises:
        UsageError: a setting that does not exist or is out of its bounds.
        TargetError: the target does not give a workload.
        WorkloadError: the workload cannot be stepped.
        KeyboardInterrupt: Ctrl-C, after everything was put back.
    """
    parts, given = parts_of(settings, train_loader=train_loader, loss_fn=loss_fn, optimizer=optimizer)
    made = make_settings(FindLrSettings, given)
    where = target_of(target, kwargs, app_dir)
    from lrscout.engine.randomness import preserved_random_state  # here and not above: they bring torch
    from lrscout.runs.lr.search import search_lr

    with preserved_random_state():  # building from a dotted path seeds
        workload = workload_from(target, where, parts, made.seed)
        record = search_lr(workload, made, where)
    assert record.result is not None
    if record.status == "interrupted":
        raise KeyboardInterrupt
    return FindLrResult(record, record.result)
