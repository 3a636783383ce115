"""What a run hands to the steps after it in a CI job: names and values, one table for all commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lrscout.results import BatchSizeRecord, CheckRecord, CompareRecord, LrRecord, RunRecord, TrainRunRecord, TuneRecord

Values = dict[str, str | int | float | None]


def outputs(record: RunRecord[Any]) -> Mapping[str, str]:
    """The values by name, as text; what there is none of is empty."""
    values = OUTPUTS[record.command](record) if record.result is not None and record.command in OUTPUTS else {}
    return {"status": record.status, **{name: _text(value) for name, value in values.items()}}


def _text(value: str | int | float | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _check(record: CheckRecord) -> Values:
    result = record.result
    assert result is not None
    failed, warned = result.named("fail"), result.named("warn")
    return {"checks": "failed" if failed else "passed", "failed": " ".join(failed), "warned": " ".join(warned)}


def _find_lr(record: LrRecord) -> Values:
    assert record.result is not None
    suggestion = record.result.suggestion
    return {"lr": suggestion.lr, "confidence": suggestion.confidence, "low": suggestion.low, "high": suggestion.high}


def _find_batch_size(record: BatchSizeRecord) -> Values:
    result = record.result
    assert result is not None
    lr = result.rate.lr if result.rate is not None else None
    return {"batch-size": result.answer, "largest-fitting": result.largest_fitting, "lr": lr}


def _compare_schedulers(record: CompareRecord) -> Values:
    assert record.result is not None
    ranking = record.result.ranking
    best = ranking[0] if ranking and ranking[0].final is not None else None
    if best is None:
        return {"winner": None, "verdict": ranking[0].verdict if ranking else None, "lr": None}
    return {"winner": best.label, "verdict": best.verdict, "lr": best.peak_lr}


def _run(record: TrainRunRecord) -> Values:
    assert record.result is not None
    return {"lr": record.result.peak_lr, "schedule": record.result.schedule, "final-loss": record.result.final_loss}


def _tune(record: TuneRecord) -> Values:
    result = record.result
    assert result is not None
    return {"batch-size": result.batch_size, "lr": result.lr, "schedule": result.schedule}


OUTPUTS: dict[str, Callable[[RunRecord[Any]], Values]] = {
    "check": _check,
    "find-lr": _find_lr,
    "find-batch-size": _find_batch_size,
    "compare-schedulers": _compare_schedulers,
    "run": _run,
    "tune": _tune,
}
