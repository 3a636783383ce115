"""The settings as keyword arguments of the Python API, so that editors complete and check them.

A test holds them against lrscout.settings, which has their defaults, bounds and meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from lrscout.results import Use
from lrscout.settings.engine import Engine
from lrscout.settings.session import Precision


class LaunchKeywords(TypedDict, total=False):
    """How a training command is started."""

    listen: str | None


class CommandKeywords(LaunchKeywords, total=False):
    """How a search starts a training command."""

    keep_environment: bool


class SessionKeywords(CommandKeywords, total=False):
    """How a training step is made."""

    seed: int
    device: str
    precision: Precision | None
    optimizer_arg: Mapping[str, Any]
    accumulate: int | None
    clip_norm: float | None
    clip_value: float | None
    compile: bool
    deterministic: bool
    cudnn_benchmark: bool | None


class RanksKeywords(SessionKeywords, total=False):
    """How a target is trained on several ranks."""

    nproc: int | None
    strategy: str | None


class EngineKeywords(TypedDict, total=False):
    """Where independent trainings take place."""

    engine: Engine
    ray_address: str | None
    cpus_per_run: float
    gpus_per_run: float | None


class JobsKeywords(EngineKeywords, total=False):
    """How many independent trainings take place at the same time."""

    jobs: str | int


class CheckKeywords(SessionKeywords, total=False):
    """The settings of `check`."""

    skip: Sequence[str]
    samples: int
    steps: int
    timeout: float | None


class FindLrKeywords(JobsKeywords, RanksKeywords, total=False):
    """The settings of `find_lr`."""

    timeout: float | None
    use: Use
    horizon: int | None
    epochs: float | None
    refine: str | int | None
    seeds: int
    steps: int
    max_steps: int | None
    min_lr: float | None
    max_lr: float | None
    spacing: Literal["exponential", "linear"]
    smoothing: float
    stop_factor: float
    early_stop: bool
    rule: str
    val_batches: int
    restart: bool


class FindBatchSizeKeywords(RanksKeywords, total=False):
    """The settings of `find_batch_size`."""

    timeout: float
    mode: str | None
    batch_arg: str
    min: int
    max: int | None
    budget: str | None
    margin: str
    resolution: str | None
    objective: str
    statistics: bool
    time_budget: str | float | None
    find_lr: bool
    trial_steps: int
    isolate: Literal["auto", "always", "never"]
    worst_case: Literal["auto", "off"]
    workers: str | None
    eval: bool
    effective_batch_size: int | None
    prefer: str | None
    cache: bool
    dry_run: bool


class CompareSchedulersKeywords(JobsKeywords, RanksKeywords, total=False):
    """The settings of `compare_schedulers`."""

    timeout: float | None
    steps: int
    seeds: int
    lr_mode: Literal["tune", "shared", "fixed"]
    lr: float | None
    baseline: str | None
    min_effect: float
    evaluations: int
    eval_every: int | None
    metric_regex: str | None
    metric_mode: Literal["min", "max"]
    time_budget: str | float | None
    threads: int | None


class RunKeywords(LaunchKeywords, total=False):
    """The settings of `run`."""

    timeout: float
    lr: float | None
    schedule: str | None
    steps: int | None
    optimizer: str | int | None
    seed: int
