"""What an earlier record says about a training: the rate, the schedule, the steps and the command."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from lrscout.errors import RecordError, UsageError
from lrscout.formatting import format_lr
from lrscout.results import CommandTarget, CompareRecord, LrRecord, LrResult, RunRecord, TrainRunRecord
from lrscout.runs.lr.trainings import SCHEDULES
from lrscout.search.scout import HORIZON, horizon_factor
from lrscout.search.suggestion import power_of
from lrscout.settings import RunSettings, make_settings

LENGTH_FACTOR = 1.5  # a training that much longer or shorter than a rate was suggested for has a better one


def recorded_command(record: RunRecord[Any], name: str) -> CommandTarget:
    """The training command of a record; `name` is what error messages call it.

    Raises:
        UsageError: it was made with a target instead.
    """
    command = record.target.get("command")
    if not command:
        path = record.target.get("path")
        raise UsageError(
            f"{name} has no training command: it is about {path or 'objects passed from Python'}.",
            hint="Give one: lrscout run --from RECORD -- python train.py.",
        )
    return CommandTarget(tuple(command), str(record.target["cwd"]))


def with_recorded(settings: RunSettings, record: RunRecord[Any], name: str) -> RunSettings:
    """The settings, where they say nothing with those of a record.

    Raises:
        UsageError: the record has no answer, or one that cannot be used.
    """
    if record.command not in READERS:
        raise UsageError(
            f"{name} is a record of {record.command}, which has no learning rate.",
            hint=f"Give the record of one of {', '.join(READERS)}.",
        )
    if record.status == "inconclusive" or record.result is None:
        raise _no_answer(record, name)
    found = READERS[record.command](record, name)
    missing = {key: value for key, value in found.items() if getattr(settings, key) is None}
    try:
        return make_settings(RunSettings, {**dataclasses.asdict(settings), **missing})
    except UsageError as error:
        raise RecordError(f"{name} cannot be used: {error.message}", hint=error.hint) from None


def warnings_about(settings: RunSettings, record: RunRecord[Any]) -> list[str]:
    """What speaks against a rate from a record."""
    if record.command != "run" and record.status in ("interrupted", "failed"):
        return [f"The {record.command} that the rate is from was not finished: its status is {record.status}."]
    horizon, result, steps, lr = record.settings.get("horizon"), record.result, settings.steps, settings.lr
    if not isinstance(result, LrResult) or not isinstance(horizon, int) or steps is None or lr is None:
        return []
    if lr != result.suggestion.lr or 1 / LENGTH_FACTOR <= steps / horizon <= LENGTH_FACTOR:
        return []
    power = power_of(result.by_length, record.settings.get("use", "decay"))
    better = lr * horizon_factor(steps, power) / horizon_factor(horizon, power)
    return [
        f"The rate {format_lr(lr)} was suggested for {horizon} steps of training; for {steps} it is about"
        f" {format_lr(better)} (--lr {better:.2g}, or find-lr --horizon {steps})."
    ]


def _of_find_lr(record: LrRecord, name: str) -> Mapping[str, Any]:
    assert record.result is not None
    suggestion = record.result.suggestion
    if suggestion.lr is None:
        raise _no_answer(record, name)
    optimizer = _optimizer(record)
    if optimizer is None and record.result.others:  # the others had their own rates during the search, too
        optimizer = "1"
    schedule = SCHEDULES[suggestion.use or record.settings.get("use", "decay")]
    horizon = record.settings.get("horizon")
    steps = None if horizon == HORIZON else horizon  # which nobody may have given
    return {"lr": suggestion.lr, "schedule": schedule, "steps": steps, "optimizer": optimizer}


def _of_comparison(record: CompareRecord, name: str) -> Mapping[str, Any]:
    assert record.result is not None
    if not record.result.ranking or record.result.ranking[0].final is None:
        raise _no_answer(record, name)
    best = record.result.ranking[0]
    return {
        "lr": best.peak_lr,
        "schedule": best.label,
        "steps": record.result.steps,
        "optimizer": _optimizer(record),
    }


def _of_run(record: TrainRunRecord, name: str) -> Mapping[str, Any]:
    return {key: record.settings.get(key) for key in ("lr", "schedule", "steps", "optimizer")}


READERS: dict[str, Callable[[Any, str], Mapping[str, Any]]] = {
    "find-lr": _of_find_lr,
    "compare-schedulers": _of_comparison,
    "run": _of_run,
}


def _optimizer(record: RunRecord[Any]) -> Any:
    """Which of a command's optimizers a record is about; for a target, it is the class of a new one."""
    return record.settings.get("optimizer") if record.target.get("command") else None


def _no_answer(record: RunRecord[Any], name: str) -> UsageError:
    why = getattr(getattr(record.result, "suggestion", None), "reason", None) or record.error
    return UsageError(
        f"{name} has no learning rate: {record.command} found none{f' ({why})' if why else ''}.",
        hint="Give one by --lr, without --from.",
    )
