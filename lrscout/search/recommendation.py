"""From the trials to the recommended batch size, and the reason for it."""

from __future__ import annotations

from collections.abc import Sequence

from lrscout.formatting import format_bytes
from lrscout.results import BatchSizeResult, MemoryBudget, Outcome, Throughput, Trial
from lrscout.search.batch_size import Search, SearchEnd, fastest, power_of_two_below
from lrscout.search.memory_model import fitted_model

LOADER_BOUND = 0.5  # of the time per step; if more is spent waiting for the loader, it is the bottleneck

LIMITING: dict[Outcome, str] = {
    "refused": "Not memory, but the program itself ends the range: it failed at size {size}.",
    "capped": "Not memory, but the program itself ends the range: it does not follow size {size}.",
    "too_few_steps": "Not memory, but the program's length ends the range, at size {size}.",
}
"""What stands before the reason of the smallest trial with such an outcome, where it ended the search."""


def conclude(
    end: SearchEnd, search: Search, mode: str, budget: MemoryBudget, step: int | None = None
) -> BatchSizeResult:
    """The result of a search. If `step` is given, its multiples are preferred."""
    trials = end.trials
    sizes = [t.batch_size for t in trials if t.outcome == "fits" and t.growth_bytes is None]
    preferred = [size for size in sizes if step is None or size % step == 0] or sizes  # fall back if none is a multiple
    offered = [t for t in trials if t.batch_size in preferred]
    largest = max(preferred, default=None)
    quickest = fastest(offered)
    below = power_of_two_below(largest or 0)
    chosen = quickest.batch_size if quickest is not None else largest
    unsure = end.stop_reason in ("unstable", "interrupted")
    return BatchSizeResult(
        batch_size=None if unsure else chosen,
        reason=_why_not(trials, search, end) if unsure or chosen is None else _why(quickest, largest, offered),
        largest_fitting=largest,
        fastest=quickest,
        mode=mode,
        stop_reason=end.stop_reason,
        trials=trials,
        memory_model=fitted_model(trials),
        budget_bytes=budget.bytes,
        margin=budget.margin,
        seconds=end.seconds,
        friendly=below if step is None and below in sizes else None,
    )


def _why(quickest: Throughput | None, largest: int | None, trials: Sequence[Trial]) -> str:
    if quickest is None:
        return "the largest that fits"
    if quickest.batch_size == largest:
        return "the largest that ran is also the fastest"
    best = max((t.samples_per_second, t.batch_size) for t in trials if t.samples_per_second is not None)
    if best[1] == quickest.batch_size:
        return "the fastest of the sizes that ran; larger ones only take more memory"
    return f"within 5% of the best throughput (at size {best[1]}); larger sizes only take more memory"


def _size(trial: Trial) -> int:
    return trial.batch_size


def _why_not(trials: tuple[Trial, ...], search: Search, end: SearchEnd) -> str:
    if end.stop_reason == "interrupted":
        return "no size is recommended, since better ones may not have been tried yet"
    growing = next((t for t in trials if t.growth_bytes is not None), None)
    if growing is not None and growing.growth_bytes is not None:
        return (
            f"every step at size {growing.batch_size} adds {format_bytes(growing.growth_bytes)} of memory, so no size"
            " fits for long; look for code that keeps the loss or outputs of each step, such as a list of losses that"
            " still hold their graphs"
        )
    if not trials:
        return "no size was tried"
    smallest = min(trials, key=lambda t: t.batch_size)
    if end.stop_reason == "timeout":
        return f"size {smallest.batch_size} timed out; raise --timeout"
    if smallest.outcome == "too_few_samples":
        return f"the loader yields no batch of {smallest.batch_size} samples"
    if smallest.outcome == "too_few_steps":
        return f"size {smallest.batch_size} ended too early; raise the program's own number of steps or epochs"
    return f"not even size {smallest.batch_size} fits"


def over_budget(result: BatchSizeResult, needed_bytes: int | None) -> str:
    """Why nothing fits, with the memory that the smallest size needs if it could be measured without the limit."""
    limit = result.limit_bytes
    if needed_bytes is None or limit is None or needed_bytes <= limit:
        return result.reason
    return (
        f"{result.reason}: it needs {format_bytes(needed_bytes)}, which is {format_bytes(needed_bytes - limit)} over"
        f" the {format_bytes(limit)} that the budget allows"
    )


def warnings_about(result: BatchSizeResult, step: int | None = None) -> tuple[str, ...]:
    """The warnings about a result for which multiples of `step` were preferred."""
    found = []
    if step is not None and result.largest_fitting is not None and result.largest_fitting % step:
        found.append(f"No size that ran is a multiple of {step}, so the batch size is not rounded down to one.")
    limiting = min((t for t in result.trials if t.outcome == result.stop_reason), key=_size, default=None)
    if limiting is not None and limiting.outcome in LIMITING and limiting.reason is not None:
        found.append(f"{LIMITING[limiting.outcome].format(size=limiting.batch_size)} {limiting.reason}")
    trial = result.trial_of(result.batch_size)
    if trial is not None and trial.loader_share is not None and trial.loader_share > LOADER_BOUND:
        found.append(
            f"At size {trial.batch_size}, {trial.loader_share:.0%} of each step is spent waiting for the loader: a"
            " larger batch will not help, but more workers (num_workers) may."
        )
    return tuple(found)
