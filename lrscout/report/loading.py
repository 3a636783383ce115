"""What find-batch-size says about the loader: the time of a step with it, without it, and with more workers."""

from __future__ import annotations

from collections.abc import Sequence

from lrscout.formatting import format_milliseconds
from lrscout.results import BatchSizeResult, LoaderTiming, Loading
from lrscout.search.recommendation import LOADER_BOUND
from lrscout.search.workers import is_fed

Rows = Sequence[Sequence[str]]


def loading_lines(result: BatchSizeResult) -> list[str]:
    """What the loader takes of a step, and what to do about it: a sentence each."""
    loading = result.loading
    if loading is None:
        return []
    lines = []
    if loading.own is not None and loading.seconds_without is not None:
        lines.append(_with_and_without(loading.own, loading.seconds_without))
        tells = loading.workers is not None
        lines += [_answer(loading, loading.own)] if tells else _advice(loading)
    if loading.problem is not None:
        lines += [loading.problem] if loading.interrupted else [_ended(loading, result), loading.problem]
    return lines


def _with_and_without(own: LoaderTiming, without: float) -> str:
    took, left = (format_milliseconds(seconds) for seconds in (own.seconds_per_step, without))
    if is_fed(own, without):
        return f"a step takes {took} ms, and {left} ms when batches need not be loaded: the loader keeps up"
    limits = without < (1 - LOADER_BOUND) * own.seconds_per_step
    told = "limits this training, not the batch size" if limits else "slows this training down"
    return f"a step takes {took} ms, of which {left} ms are left when batches need not be loaded: the loader {told}"


def _answer(loading: Loading, own: LoaderTiming) -> str:
    named = next(timing for timing in loading.timings if timing.workers == loading.workers)
    name, took = f"num_workers={loading.workers}", format_milliseconds(named.seconds_per_step)
    *counts, last = (str(timing.workers) for timing in loading.timings)
    none = f"none of {', '.join(counts)} and {last} workers feeds the step"
    stays = named.workers == own.workers
    if loading.fed and stays:
        return f"{name}, which the loader has, is enough"
    if loading.fed:
        return f"{name} feeds the step, at {took} ms: set it and search again, since {AGAIN}"
    if stays:
        return f"{none}; {name}, which the loader has, is as good as any: {CHEAPER}"
    return f"{none}; {name} is as good as any, at {took} ms: set it, and {CHEAPER}"


def _advice(loading: Loading) -> list[str]:
    """What to try where no number of workers was asked for."""
    if loading.fed or loading.problem is not None:
        return []
    if loading.own is not None and loading.own.workers is None:
        return ["it is not a DataLoader: with one, num_workers could load batches while the step runs"]
    return ["--workers auto finds the num_workers that feeds the step"]


def _ended(loading: Loading, result: BatchSizeResult) -> str:
    trial = result.trial_of(result.batch_size)
    if loading.own is None or loading.seconds_without is None:
        share = 0.0 if trial is None or trial.loader_share is None else trial.loader_share
        return f"{share:.0%} of a step is spent waiting for the loader, but it could not be timed without"
    if loading.workers is None:
        return "no other num_workers was timed"
    return f"no num_workers above {max(t.workers or 0 for t in loading.timings)} was timed"


def loading_table(result: BatchSizeResult) -> list[tuple[Sequence[str], Rows]]:
    """The time of a step with each number of workers that was tried."""
    loading = result.loading
    if loading is None or len(loading.timings) < 2:
        return []
    own = None if loading.own is None else loading.own.workers
    rows = [
        (_marked(t, own, loading.workers), format_milliseconds(t.seconds_per_step), f"{t.loader_share:.0%}")
        for t in loading.timings
    ]
    if loading.seconds_without is not None:
        rows.append(("no loading", format_milliseconds(loading.seconds_without), ""))
    return [(("workers", "ms per step", "spent waiting"), rows)]


def _marked(timing: LoaderTiming, own: int | None, named: int | None) -> str:
    marks = [word for word, workers in (("current", own), ("suggested", named)) if timing.workers == workers]
    return f"{timing.workers} ({', '.join(marks)})" if marks else str(timing.workers)


AGAIN = "the fastest size may be another then"
CHEAPER = "make loading cheaper (fewer transforms, samples decoded once and stored), or give it more cores"
