"""check: the Python API of check."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Unpack

from lrscout.api.answers import Answer
from lrscout.api.keywords import CheckKeywords
from lrscout.api.targets import buildable_target, builder, parts_of
from lrscout.report.check import headline
from lrscout.results import BatchField, Check, CheckResult
from lrscout.settings import CheckSettings, check_kind, make_settings


@dataclass(frozen=True, slots=True, repr=False)
class CheckAnswer(Answer[CheckResult]):
    """The answer of `check`."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """What every check found, in order."""
        return self.result.checks

    @property
    def batch(self) -> tuple[BatchField, ...]:
        """The parts of the first batch."""
        return self.result.batch

    @property
    def passed(self) -> bool:
        """Whether no check failed; some may have warned."""
        return not self.result.named("fail")

    def __getitem__(self, name: str) -> Check:
        """A check by its name, such as "gradients"."""
        found = {check.name: check for check in self.result.checks}
        return found[name]

    def __str__(self) -> str:
        return headline(self.record)


def check(
    target: Any = None,
    train_loader: Iterable[Any] | None = None,
    loss_fn: Callable[..., Any] | None = None,
    optimizer: Any = None,
    *,
    val_loader: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    app_dir: str | os.PathLike[str] | None = None,
    **settings: Unpack[CheckKeywords],
) -> CheckAnswer:
    """See whether a target is sound before anything is searched, and restore everything that was passed in.

    The target is anything that `find_lr` takes. `settings` are the other options of `lrscout check` in snake case. No
    file is written. A check that fails is part of the answer, even where the target's code raised an exception in it.

    Raises:
        UsageError: a setting is unknown or out of bounds.
        TargetError: the target does not give a workload.
        KeyboardInterrupt: Ctrl-C, after everything has been restored.
    """
    parts, given = parts_of(
        settings, train_loader=train_loader, loss_fn=loss_fn, optimizer=optimizer, val_loader=val_loader
    )
    made = make_settings(CheckSettings, given)
    check_kind(made, "target")
    found, where = buildable_target(target, kwargs, app_dir, parts)
    from lrscout.engine.randomness import preserved_random_state  # here and not above: they bring torch
    from lrscout.runs.check.search import check_target

    with preserved_random_state():  # building seeds everything
        return CheckAnswer.of(check_target(builder(found, where), made, where))
