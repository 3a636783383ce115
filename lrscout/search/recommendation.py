"""From the trials to the recommended batch size, and the reason for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lrscout.formatting import format_bytes
from lrscout.results import BatchSizeResult, MemoryBudget, Outcome, StepTiming, Throughput, Trial
from lrscout.search.batch_size import Search, SearchEnd, fastest, power_of_two_below
from lrscout.search.goodput import MEMORY, MORE_SAMPLES, OBJECTIVES, goodput, least_time
from lrscout.search.memory_model import fitted_model
from lrscout.search.scaling import FAR

LOADER_BOUND = 0.5  # of the time per step; if more is spent waiting for the loader, it is the bottleneck

LIMITING: dict[Outcome, str] = {
    "refused": "Not memory, but the program itself ends the range: it failed at size {size}.",
    "capped": "Not memory, but the program itself ends the range: it does not follow size {size}.",
    "too_few_steps": "Not memory, but the program's length ends the range, at size {size}.",
}
"""What stands before the reason of the smallest trial with such an outcome, where it ended the search."""


def conclude(
    end: SearchEnd,
    search: Search,
    mode: str,
    budget: MemoryBudget,
    step: int | None = None,
    *,
    objective: str = "time",
    timings: Sequence[StepTiming] = (),
    noise_scale: float | None = None,
) -> BatchSizeResult:
    """The result of a search; without timings, the trials' own speed decides. With `step`, multiples are preferred."""
    trials = end.trials
    sizes = [t.batch_size for t in trials if t.outcome == "fits" and t.growth_bytes is None]
    preferred = [size for size in sizes if step is None or size % step == 0] or sizes  # fall back if none is a multiple
    offered = [t for t in trials if t.batch_size in preferred]
    largest = max(preferred, default=None)
    below = power_of_two_below(largest or 0)
    quickest = _quickest(timings) if timings else fastest(offered)
    chosen, reason = _chosen(objective, timings, noise_scale, quickest, largest)
    unsure = end.stop_reason in ("unstable", "interrupted")
    if unsure or chosen is None:
        reason = _why_not(trials, search, end)
    return BatchSizeResult(
        batch_size=None if unsure else chosen,
        reason=reason,
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
        objective=objective,
        timings=tuple(timings),
        noise_scale=noise_scale,
    )


def _quickest(timings: Sequence[StepTiming]) -> Throughput:
    found = least_time(timings, None)
    return Throughput(found.batch_size, found.samples_per_second)


def _chosen(
    objective: str,
    timings: Sequence[StepTiming],
    noise_scale: float | None,
    quickest: Throughput | None,
    largest: int | None,
) -> tuple[int | None, str]:
    """The size to recommend, and why; without timings, the quickest."""
    if objective == MEMORY or quickest is None:
        return largest, "the largest that fits"
    if timings and noise_scale is not None:
        chosen = OBJECTIVES[objective](timings, noise_scale)
        return chosen.batch_size, REASONS[objective](chosen, timings, noise_scale)
    if quickest.batch_size == largest:
        return largest, "the largest that ran is also the fastest"
    return quickest.batch_size, "larger sizes are no more than 5% faster, and only take more memory"


def _why_time(chosen: StepTiming, timings: Sequence[StepTiming], scale: float) -> str:
    largest = max(timings, key=lambda timing: timing.samples)
    noise = f"about {scale:,.0f} samples (the noise scale of the gradients)"
    if chosen == largest:
        return f"the least time to the same loss, and the largest: a larger batch saves steps up to {noise}"
    times = goodput(chosen, scale) / goodput(largest, scale)
    return (
        f"the least time to the same loss, {times:.1f} times as fast as size {largest.batch_size}: beyond {noise}, a"
        " larger batch teaches little more"
    )


def _why_samples(chosen: StepTiming, timings: Sequence[StepTiming], scale: float) -> str:
    smallest = min(timings, key=lambda timing: timing.samples)
    more = f"to the same loss, it takes {MORE_SAMPLES:.0%} more samples than size {smallest.batch_size} at most"
    return f"{more}; the noise scale of the gradients is about {scale:,.0f} samples"


REASONS: dict[str, Callable[[StepTiming, Sequence[StepTiming], float], str]] = {
    "time": _why_time,
    "samples": _why_samples,
}
"""Why an objective chose a size, by the names of OBJECTIVES."""


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


def warnings_about(result: BatchSizeResult, step: int | None = None, *, tried_find_lr: bool = False) -> tuple[str, ...]:
    """The warnings about a result for which multiples of `step` were preferred."""
    found = []
    if step is not None and result.largest_fitting is not None and result.largest_fitting % step:
        found.append(f"No size that ran is a multiple of {step}, so the batch size is not rounded down to one.")
    limiting = min((t for t in result.trials if t.outcome == result.stop_reason), key=_size, default=None)
    if limiting is not None and limiting.outcome in LIMITING and limiting.reason is not None:
        found.append(f"{LIMITING[limiting.outcome].format(size=limiting.batch_size)} {limiting.reason}")
    if result.rate is not None and result.rate.is_far and result.own is not None and result.batch_size is not None:
        smaller, larger = sorted((result.own.batch_size, result.batch_size))
        remedy = "Try several rates around it." if tried_find_lr else "Measure it at the new size: --find-lr."
        found.append(
            f"The learning rate is a guess: from size {result.own.batch_size} to {result.batch_size} is a factor of"
            f" {larger / smaller:.3g}, and no rule is to be trusted beyond {FAR:g}. {remedy}"
        )
    return tuple(found)
