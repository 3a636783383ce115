"""What each stage of a tuning is started with: the command line of another search, with the answers so far in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lrscout.results import BatchSizeRecord, CommandTarget
from lrscout.schedules import parse_schedule
from lrscout.search import bracket, probing
from lrscout.settings import COMMANDS, ENGINE, Field, SessionSettings, TuneSettings, fields_of, flag_words

SHARES = {"check": 0.2, "batch-size": 0.2, "lr": 0.25, "schedule": 1.0}
"""Of the time that is left, what a stage may take."""
OWN = ("budget", "skip", "memory")  # settings that mean something else to a stage, or nothing
SHORTEST_SECONDS = 5.0  # of a stage that can do anything
COMMANDS_OF = {"check": "check", "batch-size": "find-batch-size", "lr": "find-lr", "schedule": "compare-schedulers"}


@dataclass(frozen=True, slots=True)
class Given:
    """What the user gave to tune, for every stage to be given it too."""

    target: str | None
    command: tuple[str, ...] | None  # a training command on the command line, after `--`
    kwargs: tuple[str, ...]  # KEY=VALUE
    recipe: str | None
    app_dir: str | None
    settings: frozenset[str] = frozenset()  # the names of those that were given, by flag or variable


@dataclass(frozen=True, slots=True)
class Found:
    """The answers so far."""

    batch_argument: str | None = None  # the argument of the target that takes the batch size
    batch_size: int | None = None
    step_seconds: float | None = None  # of a training step at that size
    lr: float | None = None


def stage_arguments(stage: str, given: Given, settings: TuneSettings, found: Found, seconds: float | None) -> list[str]:
    """The command line of a stage, without the files it writes; `seconds` is what it may take."""
    arguments = [COMMANDS_OF[stage], *([given.target] if given.target is not None else [])]
    kwargs = list(given.kwargs)
    if found.batch_size is not None and found.batch_argument is not None:
        own = f"{found.batch_argument}="
        kwargs = [*(each for each in kwargs if not each.startswith(own)), f"{own}{found.batch_size}"]
    for each in kwargs:
        arguments += ["-k", each]
    for flag, path in (("--recipe", given.recipe), ("--app-dir", given.app_dir)):
        arguments += [flag, path] if path is not None else []
    arguments += _settings_flags(stage, settings, given.settings)
    arguments += _limits(stage, seconds, found)
    if stage == "schedule" and found.lr is not None:
        arguments += ["--lr", f"{found.lr:.6g}"]
    if given.command is not None:
        arguments += ["--", *with_size(given.command, found.batch_size)]
    return arguments


def found_size(record: BatchSizeRecord, target_command: Sequence[str] | None) -> Found:
    """What the search for a batch size says to those after it. A size that they cannot set is none."""
    result = record.result
    if result is None or result.batch_size is None:
        return Found()
    argument = record.environment.get("batch_argument")
    if target_command is None and argument is None:
        return Found()
    timed = next((each.seconds for each in result.timings if each.batch_size == result.batch_size), None)
    return Found(argument, result.batch_size, timed)


def _settings_flags(stage: str, settings: TuneSettings, given: Collection[str]) -> list[str]:
    """The settings of tune that the stage has as well, where they were given, or differ from their defaults."""
    known = {field.name: field for field in fields_of(COMMANDS[COMMANDS_OF[stage].replace("-", "_")])}
    flags: list[str] = []
    for field in fields_of(TuneSettings):
        value = getattr(settings, field.name)
        is_own = field.name in OWN or (field.name == "seeds" and stage != "schedule")
        if not is_own and field.name in known and (value != field.default or field.name in given):
            flags += _flag(known[field.name], value)
    if stage == "batch-size" and settings.memory is not None:
        flags += ["--budget", settings.memory]
    return flags


def _flag(field: Field, value: Any) -> list[str]:
    if field.type is tuple:
        return [word for item in value for word in (field.flag, parse_schedule(item).label)]
    return flag_words(field, value)


def _limits(stage: str, seconds: float | None, found: Found) -> list[str]:
    """The flags that keep a stage within its time."""
    if seconds is None:
        return []
    if stage == "check":
        return []
    if stage != "lr":
        return ["--time-budget", f"{max(seconds, SHORTEST_SECONDS):.0f}s"]
    if not found.step_seconds:
        return []
    possible = int(seconds / found.step_seconds)
    most = bracket.SWEEP_STEPS + probing.MAX_PROBING_STEPS
    return ["--max-steps", str(max(possible, bracket.SWEEP_STEPS))] if possible < most else []


def with_size(command: Sequence[str], batch_size: int | None) -> tuple[str, ...]:
    """A command with the batch size in its place, where one was found."""
    words = CommandTarget(tuple(command), "")
    return words.command if batch_size is None else words.filled(batch_size=batch_size)


def seconds_for(stage: str, stages: Sequence[str], left: float, starting: float) -> float:
    """What the search of a stage may take of the seconds that are left, if each stage takes `starting` to start."""
    searching = max(0.0, left - starting * len(stages[stages.index(stage) :]))
    return searching if stage == stages[-1] else searching * SHARES[stage]


def stage_key(stage: str, given: Given, settings: TuneSettings, found: Found) -> list[str]:
    """What says whether an earlier stage was the same: its command line without where it took place, and how long."""
    defaults = {field.name: field.default for field in fields_of(TuneSettings)}
    settings = dataclasses.replace(settings, **{name: defaults[name] for name in ENGINE})
    given = dataclasses.replace(given, settings=given.settings.difference(ENGINE))
    return stage_arguments(stage, given, settings, found, None)


def step_settings(settings: TuneSettings) -> dict[str, Any]:
    """The settings of a training step that differ from their defaults."""
    values = ((field, getattr(settings, field.name)) for field in fields_of(SessionSettings))
    return {field.name: value for field, value in values if value != field.default}
