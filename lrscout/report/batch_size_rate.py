"""What find-batch-size says about the learning rate for the recommended size."""

from __future__ import annotations

from lrscout.formatting import format_lr
from lrscout.report.batch_size_memory import Table
from lrscout.report.find_lr import purpose
from lrscout.results import BatchSizeResult
from lrscout.search.scaling import MEASURED


def rate_lines(result: BatchSizeResult) -> list[str]:
    """What a measured rate is for, and how certain it is."""
    rate = result.rate
    if rate is None or not rate.measured:
        return []
    return [f"the learning rate was measured at size {result.batch_size}, {purpose(rate.measured[0])}"]


def rate_table(result: BatchSizeResult) -> list[Table]:
    """The rate of the current size, and that of the recommended one by a rule or as it was measured."""
    rate, own, size = result.rate, result.own, result.batch_size
    if rate is None or size is None:
        return []
    lines = []
    if own is not None and (own.lr is not None or rate.lr is None):
        lines.append((f"{own.batch_size} (current)", _told(own.lr, 1.0)))
    lines.append((str(size), _told(rate.lr, rate.factor)))
    for number, suggestion in enumerate(rate.measured[1:], 2):
        lines.append((f"{size}, optimizer {number}", _told(suggestion.lr, None)))
    rule = f"by {rate.rule}" if rate.rule == MEASURED else f"by the {rate.rule} rule"
    return [(("learning rate for", rule), lines)]


def _told(lr: float | None, factor: float | None) -> str:
    """The rate, or where it is unknown what the target's own is multiplied by."""
    if lr is not None:
        return format_lr(lr)
    return "none" if factor is None else f"x {factor:.3g}"
