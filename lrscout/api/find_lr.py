"""find_lr: the Python API of find-lr."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from lrscout.api.answers import Answer, page
from lrscout.api.keywords import FindLrKeywords
from lrscout.api.targets import buildable_target, builder, check_importable, command_target, parts_of
from lrscout.formatting import format_lr
from lrscout.report.lr_plot import plot_sweep
from lrscout.results import (
    LrResult,
    StopReason,
    Suggestion,
    SweepPoint,
)
from lrscout.runs.lr.command import search_command
from lrscout.runs.lr.elsewhere import is_elsewhere, search_elsewhere
from lrscout.runs.lr.observer import LrObserver
from lrscout.settings import FindLrSettings, make_settings


@dataclass(frozen=True, slots=True, repr=False)
class FindLrResult(Answer[LrResult]):
    """The answer of `find_lr`."""

    @property
    def suggestion(self) -> Suggestion:
        """The suggestion; its `lr` is None if the search has no answer, and its `reason` says why."""
        return self.result.suggestion

    @property
    def suggestions(self) -> Mapping[str, float | None]:
        """The rate of each rule."""
        return self.result.suggestions

    @property
    def points(self) -> tuple[SweepPoint, ...]:
        """The sweep, step by step."""
        return self.result.points

    @property
    def stop_reason(self) -> StopReason:
        """Why the sweep ended: completed, diverged or non_finite."""
        return self.result.stop_reason

    def plot(self, width: int = 100, height: int | None = None, *, color: bool = False) -> str:
        """The sweep as a text plot, `width` columns wide."""
        return plot_sweep(self.result, page(width, color), height)

    def __str__(self) -> str:
        lr = self.suggestion.lr
        return f"{'no learning rate' if lr is None else format_lr(lr)} ({self.suggestion.reason})"


def find_lr(
    target: Any = None,
    train_loader: Iterable[Any] | None = None,
    loss_fn: Callable[..., Any] | None = None,
    optimizer: Any = None,
    *,
    val_loader: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    app_dir: str | os.PathLike[str] | None = None,
    command: Sequence[str] | None = None,
    **settings: Unpack[FindLrKeywords],
) -> FindLrResult:
    """Suggest a learning rate from a short sweep, and restore everything that was passed in.

    `target` is a Workload, a dict or tuple with its fields, a model (with `train_loader` and, if needed, `loss_fn`,
    `optimizer` and `val_loader`), a LightningModule, a transformers.Trainer, a function that builds one of these (with
    `kwargs`), or a dotted path as on the command line (with `kwargs` and `app_dir`). `optimizer` is an Optimizer,
    several of them, a function that makes one from the parameters, or a name as in `--optimizer`. `settings` are the
    other options of `lrscout find-lr` in snake case; `jobs`, for `seeds` and the trainings of `refine`, needs a dotted
    path or a function that can be imported by its name. No file is written.

    With `command` instead of a target, the search runs inside a training program: `["python", "train.py"]`. It is
    started in the current folder and ended afterwards; what it prints is not shown.

    Raises:
        UsageError: a setting is unknown or out of bounds.
        TargetError: the target does not give a workload.
        WorkloadError: the workload cannot be trained.
        KeyboardInterrupt: Ctrl-C, after everything has been restored.
    """
    parts, given = parts_of(
        settings, train_loader=train_loader, loss_fn=loss_fn, optimizer=optimizer, val_loader=val_loader
    )
    made = make_settings(FindLrSettings, given)
    program = command_target(command, made, target, parts, kwargs, app_dir)
    if program is not None:
        search = search_elsewhere if is_elsewhere(made) else search_command
        return FindLrResult.of(search(program, made, LrObserver()))
    found, where = buildable_target(target, kwargs, app_dir, parts)
    if is_elsewhere(made):
        check_importable(made, target, where.path)
        return FindLrResult.of(search_elsewhere(where, made, LrObserver()))
    from lrscout.engine.randomness import preserved_random_state  # here and not above: they bring torch
    from lrscout.runs.lr.live import search_live

    with preserved_random_state():  # building seeds everything
        return FindLrResult.of(search_live(builder(found, where)(made.seed), made, where))
