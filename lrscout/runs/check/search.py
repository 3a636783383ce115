"""All checks of a target, one after the other, and the record of what they found."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from lrscout.engine.checking.fields import fields_of_batch
from lrscout.engine.checking.subject import Subject
from lrscout.engine.environment import describe_environment
from lrscout.engine.workload import Workload
from lrscout.errors import LrscoutError, TargetError, UsageError, did_you_mean, summary
from lrscout.results import BatchField, Check, CheckRecord, CheckResult, RunRecord, Status, Target
from lrscout.runs.check.finding import CheckFunction, merged
from lrscout.runs.check.model import check_batch, check_gradients, check_initial_loss, check_parameters
from lrscout.runs.check.observer import CheckObserver
from lrscout.runs.check.training import (
    check_determinism,
    check_eval_mode,
    check_labels,
    check_loader,
    check_overfit,
    check_precision,
)
from lrscout.settings import CheckSettings

CHECKS: dict[str, CheckFunction] = {
    "batch": check_batch,
    "parameters": check_parameters,
    "initial-loss": check_initial_loss,
    "gradients": check_gradients,
    "overfit": check_overfit,
    "eval-mode": check_eval_mode,
    "labels": check_labels,
    "loader": check_loader,
    "precision": check_precision,
    "determinism": check_determinism,
}
"""Every check by its name, in the order in which they are made."""

NEEDED = ("batch", "initial-loss", "gradients")  # where one of them raises an exception, all others would, too
OF_A_LOSS = ("initial-loss", "eval-mode", "precision")  # which cannot be had of a step that trains


def check_target(
    build: Callable[[int], Workload], settings: CheckSettings, target: Target, observer: CheckObserver | None = None
) -> CheckRecord:
    """Make all checks; the status of the record is `ok` whatever they found, and `interrupted` after Ctrl-C.

    Raises:
        UsageError: `skip` names something that is no check.
        TargetError: the target does not give a workload.
    """
    for name in settings.skip:
        if name not in CHECKS:
            raise UsageError(f"There is no check {name!r} to skip.", hint=did_you_mean(name, tuple(CHECKS)))
    return _Checking(build, settings, target, observer or CheckObserver()).run()


class _Checking:
    """The checks of one target."""

    def __init__(
        self, build: Callable[[int], Workload], settings: CheckSettings, target: Target, observer: CheckObserver
    ) -> None:
        self._settings, self._target, self._observer = settings, target, observer
        self._started = time.perf_counter()
        self._checks: list[Check] = []
        self._batch: tuple[BatchField, ...] = ()
        self._name = ""
        self._impossible: str | None = None  # the check that raised, without which the others make no sense
        self._subject = Subject(build, settings, self._tick)
        self._environment = describe_environment(self._subject.whole)

    def run(self) -> CheckRecord:
        """All checks, then the record."""
        self._observer.planned(len(CHECKS))
        try:
            for self._name, function in CHECKS.items():
                self._tick("")
                self._checks.append(self._made(function))
                if self._name == "batch" and self._impossible is None and self._name not in self._settings.skip:
                    self._batch = fields_of_batch(self._subject.batches[0])
                self._observer.checked(lambda: self._record("interrupted"))
        except KeyboardInterrupt:
            return self._record("interrupted")
        return self._record("ok")

    def _tick(self, now: str) -> None:
        self._observer.doing(len(self._checks), self._name, now)

    def _made(self, function: CheckFunction) -> Check:
        name = self._name
        if name in self._settings.skip:
            return Check(name, "skip", "left out (--skip)")
        if self._subject.workload.manual and name in OF_A_LOSS:
            return Check(name, "skip", "the target's step is manual, so a loss cannot be told without training")
        if self._impossible is not None:
            return Check(name, "skip", f"not made, because {self._impossible} failed")
        try:
            return merged(name, function(self._subject))
        except TargetError:  # it gives no workload
            raise
        except LrscoutError as error:
            check = Check(name, "fail", error.message, error.hint)
        except Exception as error:
            self._observer.raised(name, error)
            check = Check(name, "fail", summary(error), "This exception comes from the target's own code.")
        if name in NEEDED:
            self._impossible = name
        return check

    def _record(self, status: Status) -> CheckRecord:
        return RunRecord(
            command="check",
            status=status,
            target=self._target.as_dict(),
            settings=dataclasses.asdict(self._settings),
            environment=self._environment,
            result=CheckResult(tuple(self._checks), self._batch, time.perf_counter() - self._started),
            warnings=self._subject.whole.warnings,
        )
