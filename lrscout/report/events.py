"""A record as events for TensorBoard; the only module that imports it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from lrscout.report.views import printed
from lrscout.results import BatchSizeResult, CompareResult, LrResult, RunRecord, TrainRunResult, TuneResult

Scalar = tuple[str, int, float | None]  # its tag, its step and its value


def to_events(record: RunRecord[Any]) -> bytes:
    """The measurements as scalars by step; values that are not finite are left out."""
    file = BytesIO()
    writer = RecordWriter(file)
    writer.write(Event(file_version="brain.Event:2").SerializeToString())
    record = printed(record)
    for tag, step, value in SCALARS[record.command](record.result) if record.result is not None else ():
        if value is not None and math.isfinite(value):
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.write(Event(step=step, summary=summary).SerializeToString())
    return file.getvalue()


def _sweep(result: LrResult) -> Iterator[Scalar]:
    for number, each in enumerate(result.of_each, 1):
        place = f"optimizer {number}/" if result.others else "find-lr/"
        for point in each.points:
            yield f"{place}lr", point.step, point.lr
            yield f"{place}loss", point.step, point.loss
            yield f"{place}smoothed_loss", point.step, point.smoothed_loss


def _sizes(result: BatchSizeResult) -> Iterator[Scalar]:
    """The step is the batch size."""
    for trial in sorted(result.trials, key=lambda trial: trial.batch_size):
        timing = result.timing_of(trial.batch_size) or trial
        yield "find-batch-size/peak_bytes", trial.batch_size, trial.peak_bytes
        yield "find-batch-size/samples_per_second", trial.batch_size, timing.samples_per_second


def _comparison(result: CompareResult) -> Iterator[Scalar]:
    for run in result.runs:
        if run.role == "score":
            for point in run.points:
                yield f"{run.label}/seed {run.seed}/lr", point.step, point.lr
                yield f"{run.label}/seed {run.seed}/loss", point.step, point.loss
                yield f"{run.label}/seed {run.seed}/val_loss", point.step, point.val_loss


def _training(result: TrainRunResult) -> Iterator[Scalar]:
    for point in result.points:
        yield "run/lr", point.step, point.lr
        yield "run/loss", point.step, point.loss


def _tuning(result: TuneResult) -> Iterator[Scalar]:
    yield "tune/batch_size", 0, result.batch_size
    yield "tune/lr", 0, result.lr


SCALARS: dict[str, Callable[[Any], Iterator[Scalar]]] = {
    "find-lr": _sweep,
    "find-batch-size": _sizes,
    "compare-schedulers": _comparison,
    "run": _training,
    "tune": _tuning,
    "check": lambda result: iter(()),  # has no numbers
}
"""What TensorBoard gets of the result of each command."""
