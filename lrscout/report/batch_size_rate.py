"""The learning rate for the recommended batch size, as a table."""

from __future__ import annotations

from lrscout.formatting import format_lr
from lrscout.report.batch_size_memory import Table
from lrscout.results import BatchSizeResult


def rate_table(result: BatchSizeResult) -> list[Table]:
    """The rate of the current size and that of the recommended one; none if that is not known to be another."""
    rate, own = result.rate, result.own
    if rate is None or own is None or result.batch_size is None:
        return []
    lines = [
        (f"{own.batch_size} (current)", _told(own.lr, 1.0)),
        (str(result.batch_size), _told(rate.lr, rate.factor)),
    ]
    return [(("learning rate for", f"by the {rate.rule} rule"), lines)]


def _told(lr: float | None, factor: float) -> str:
    """The rate, or where it is unknown what the target's own is multiplied by."""
    return f"x {factor:.3g}" if lr is None else format_lr(lr)
