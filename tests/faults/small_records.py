"""One small record of every command, with something in each of its fields, and ways to change all of a record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from lrscout.results import (
    BatchField,
    BatchSizeResult,
    Check,
    CheckResult,
    ComparedRun,
    CompareResult,
    Difference,
    FinalMetric,
    GradientNoise,
    LoaderTiming,
    Loading,
    LrResult,
    MemoryEstimate,
    MemoryModel,
    Metric,
    NoiseMoment,
    OptimizerResult,
    OwnSize,
    Probe,
    Probing,
    RankedSchedule,
    RateRange,
    Refinement,
    RunRecord,
    ScaledRate,
    SeedSweep,
    Split,
    StepTiming,
    Suggestion,
    SweepPoint,
    Throughput,
    TrainingPoint,
    TrainRunResult,
    Trial,
    TunedStage,
    TuneResult,
)

GROUPS = [{"name": "body", "parameters": 10, "lr": 0.1}, {"name": None, "parameters": 5, "lr": 0.01}]
ENVIRONMENT = {"device": "cpu", "device_name": "x86_64", "optimizer": "AdamW", "groups": GROUPS, "threads": 1}
TARGET = {"path": "train.py:build", "kwargs": {"width": 64}, "app_dir": "."}
COMMAND = {"command": ["python", "train.py"], "cwd": "."}


def lr_result() -> LrResult:
    points = tuple(SweepPoint(i, 1e-5 * 10 ** (i / 4), 2.0 - i / 10, 2.0 - i / 12) for i in range(12))
    probes = (Probe(1e-3, "ok", 1.0, 100), Probe(1e-2, "diverged", None, 20))
    return LrResult(
        Suggestion(1e-3, "scout", "lowest there", 1e-4, 1e-2, (1e-3, 1e-4), "decay", "low", ("noisy",)),
        {"scout": 1e-3, "valley": None},
        points,
        "diverged",
        30,
        0.5,
        {"decay": 1e-3, "constant": 5e-4},
        points[:5],
        (SeedSweep(0, {"decay": 1e-3, "constant": None}, points),),
        Probing("noisy", 1e-3, 1e-3, 2.0, probes, 1e-4, 1e-2),
        Refinement(1e-3, 2e-3, 400, "held-out loss", 2.0, probes),
        {"400": {"decay": 1e-3, "constant": 5e-4}, "4000": {"decay": 5e-4, "constant": None}},
    )


def batch_size_result() -> BatchSizeResult:
    trials = (
        Trial(8, "fits", 10_000_000, 100.0, 1.0, 3, 9_000_000, 8_000_000, 0.4, None, None, 8, 8, 100, 100, 200, 300),
        Trial(16, "fits", 20_000_000, 150.0, 1.0, 3),
        Trial(32, "out_of_memory", None, None, 1.0, 0, reason="too large"),
    )
    noise = GradientNoise(8, (NoiseMoment(0, 2.0, 30.0, 64), NoiseMoment(20, 1.0, None, 64)), 40.0)
    own = LoaderTiming(0, 0.2, 0.4)
    return BatchSizeResult(
        16,
        "it trains fastest",
        16,
        Throughput(16, 150.0),
        "fit",
        "out_of_memory",
        trials,
        MemoryModel(100, 1_250_000, 0.01),
        25_000_000,
        0.05,
        3.0,
        1000,
        16,
        OwnSize(8, 1e-3, "AdamW"),
        (Split(16, 2, 1),),
        evaluation=BatchSizeResult(
            32, "fits", 32, None, "fit", "max", trials[:1], None, None, 0.05, 1.0, objective="memory"
        ),
        timings=(StepTiming(8, 8, 0.08, 0.07, 0.09, 5), StepTiming(16, 16, 0.1, 0.09, 0.12, 5)),
        noise=noise,
        noise_scale=40.0,
        rate=ScaledRate(2e-3, 2.0, "linear", False),
        loading=Loading(own, 0.1, (own, LoaderTiming(2, 0.11, 0.05)), 2, True, "no more cores"),
    )


def compare_result() -> CompareResult:
    points = tuple(TrainingPoint(i, 1e-3, 2.0 - i / 5, 2.0) for i in range(4))
    runs = tuple(
        ComparedRun(name, name, seed, 1e-3, "score", "ok", 1.0, 0.9, 1.2, points, 1.0, "ab", None)
        for name in ("cosine", "wsd")
        for seed in (0, 1, 2)
    )
    failed = ComparedRun("wsd", "wsd", 3, 1e-3, "tune", "failed", None, None, None, (), 1.0, None, "killed")
    best = FinalMetric(1.0, 0.9, 1.1, 3)
    ranking = (
        RankedSchedule("cosine", "cosine", {"warmup": 0.05}, 1e-3, best, None, "best", 0, RateRange(1e-4, 1e-3)),
        RankedSchedule("wsd", "wsd", {}, 1e-3, best, Difference(0.1, 0.05, 0.15, 0.01), "worse", 0),
    )
    metric = Metric("held-out loss", "min", True)
    return CompareResult(ranking, (*runs, failed), metric, "cosine", True, 100, 10, 3, 1e-3, 4.0)


def check_result() -> CheckResult:
    checks = (
        Check("batch", "ok", "8 samples in 1 tensor"),
        Check("gradients", "fail", "nan in head.weight", "Look for a root of 0."),
        Check("loader", "warn", "a step takes 80 ms", "Use workers."),
        Check("labels", "skip", "not made"),
    )
    return CheckResult(checks, (BatchField("0.ids", (8, 20), "int64", "cpu"), BatchField("1", None, "str", None)), 2.0)


def run_result() -> TrainRunResult:
    points = tuple(TrainingPoint(i, 1e-3, 2.0 - i / 5) for i in range(5))
    return TrainRunResult("cosine", 1e-3, 5, 5, points, 2.0, 1.2, 1.0, 0)


def tune_result() -> TuneResult:
    size = TunedStage("batch-size", "ok", "64", "the fastest", 2.0, ("find-batch-size", "m:build"), "/tmp/r.json")
    none = TunedStage("lr", "inconclusive", None, "it never fell", 1.0, ("find-lr", "m:build"), None)
    return TuneResult((size, none), 64, 1e-3, "wsd", ("optimizer = SGD()",), "version: 1\n", 3.0)


def _record(command: str, result: Any, target: Mapping[str, Any], **settings: Any) -> RunRecord[Any]:
    return RunRecord(command, "ok", target, settings, ENVIRONMENT, result, ("Odd.",))


def records() -> dict[str, RunRecord[Any]]:
    """A record of every command, by a name."""
    several = dataclasses.replace(lr_result(), others=(OptimizerResult(2, "SGD", tuple(GROUPS), lr_result()),))
    estimate = MemoryEstimate(100, 100, 200, 50, 16, 32, "memory", 10)
    dry = BatchSizeResult(
        None, "", None, None, "fit", "estimate", (), MemoryModel(400, 50, 0.0), 1000, 0.05, 0.1, estimate=estimate
    )
    return {
        "check": _record("check", check_result(), TARGET, steps=100),
        "find-lr": _record("find-lr", lr_result(), TARGET, steps=12, horizon=400, optimizer=None),
        "several optimizers": _record("find-lr", several, COMMAND, steps=12, horizon=400),
        "find-batch-size": _record("find-batch-size", batch_size_result(), TARGET, device="cpu", budget="24MiB"),
        "dry run": _record("find-batch-size", dry, TARGET, device="cpu", budget="24MiB"),
        "compare-schedulers": _record(
            "compare-schedulers", compare_result(), TARGET, lr_mode="tune", schedules=["wsd"]
        ),
        "run": _record("run", run_result(), COMMAND, schedule="cosine", lr=1e-3),
        "tune": _record("tune", tune_result(), TARGET, budget="15m"),
        "failed": RunRecord("run", "failed", COMMAND, {}, {}, None, (), "it broke"),
    }


def with_texts(record: RunRecord[Any], change: Callable[[str], str]) -> RunRecord[Any]:
    """The record with every text changed that may be any text."""
    changed = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    hints = get_type_hints(RunRecord)
    for name in set(changed) - {"command", "result"}:
        changed[name] = _changed(hints[name], changed[name], change)
    result = record.result
    return RunRecord(**{**changed, "result": None if result is None else _changed(type(result), result, change)})


def _changed(hint: Any, value: Any, change: Callable[[str], str]) -> Any:
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    if value is None:
        return None
    if hint is str:
        return change(value)
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        fields = dataclasses.fields(hint)
        return type(value)(**{f.name: _changed(hints[f.name], getattr(value, f.name), change) for f in fields})
    if get_origin(hint) is UnionType:
        return _changed(kinds[0], value, change)
    if hint is Any:  # keys stay: the reports look for them
        return _anything(value, change)
    if isinstance(value, Mapping):
        return {
            _changed(kinds[0], key, change) if kinds[1] is not Any else key: _changed(kinds[1], item, change)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(_changed(kinds[0], item, change) for item in value)
    return value


def _anything(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _anything(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_anything(item, change) for item in value]
    return value
