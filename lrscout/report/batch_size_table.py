"""The table of the sizes that were tried and timed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from lrscout.formatting import format_bytes, format_rate
from lrscout.report.tables import add_row, table
from lrscout.report.terminal import Style
from lrscout.results import BatchSizeResult, StepTiming, Trial
from lrscout.search.goodput import efficiency, relative_time

NOTED_WIDTH, FULL_WIDTH = 60, 100  # columns from which the notes fit, and the efficiency too
PLAIN_HEAD = ("batch size", "outcome", "peak memory", "samples/s", "note")
TIMED_HEAD = ("batch size", "outcome", "peak memory", "samples/s", "efficiency", "time to loss", "note")
SHORT = {"batch size": "size", "peak memory": "peak", "time to loss": "time"}
TRIAL_COLUMNS = tuple(Trial.__dataclass_fields__)
COLUMNS = (*TRIAL_COLUMNS, "step_seconds", "efficiency", "relative_time")


def size_head(result: BatchSizeResult) -> tuple[str, ...]:
    """The names of the columns of `size_rows`."""
    return TIMED_HEAD if _is_judged(result) else PLAIN_HEAD


def size_rows(result: BatchSizeResult) -> list[tuple[str, ...]]:
    """The sizes in order, with the columns of `size_head`."""
    return [_row(size, result.trial_of(size), result.timing_of(size), result) for size in _sizes(result)]


def size_values(result: BatchSizeResult) -> list[tuple[object, ...]]:
    """The trials in their order, then the sizes that were only timed, with the columns of COLUMNS; None if unknown."""
    found = []
    tried_in_order = [trial.batch_size for trial in result.trials]
    for size in (*tried_in_order, *(size for size in _sizes(result) if size not in tried_in_order)):
        trial, timing = result.trial_of(size), result.timing_of(size)
        untried: dict[str, object] = {"batch_size": size, "outcome": "fits"}
        tried = [getattr(trial, name) if trial is not None else untried.get(name) for name in TRIAL_COLUMNS]
        more: list[object] = [None, None, None]
        if timing is not None:
            more = [timing.seconds, efficiency(timing.samples, result.noise_scale), _relative(timing, result)]
        found.append((*tried, *more))
    return found


def size_table(result: BatchSizeResult, style: Style) -> Table:
    """The sizes as a table for a terminal, with the recommended one in bold."""
    head = size_head(result)
    left_out = {"note"} if style.width < NOTED_WIDTH else set()
    left_out |= {"efficiency"} if style.width < FULL_WIDTH else set()
    shown = [place for place, name in enumerate(head) if name not in left_out]
    names = [SHORT.get(head[place], head[place]) if style.width < NOTED_WIDTH else head[place] for place in shown]
    left = [number for number, place in enumerate(shown) if head[place] in ("batch size", "outcome", "note")]
    lines = table(style, f"  {names[0]}", *names[1:], left=left)
    for cells in size_rows(result):
        chosen = cells[0] == str(result.batch_size)
        mark = ("▸" if style.unicode else ">") if chosen else " "
        size, *others = (cells[place] for place in shown)
        add_row(lines, (f"{mark} {size}", *others), bold=chosen)
    return lines


def largest_name(result: BatchSizeResult) -> str:
    """What to call the largest fitting size: a limit only if larger sizes were tried."""
    stable = [t.batch_size for t in result.trials if t.outcome == "fits" and t.growth_bytes is None]
    if max(stable, default=0) > (result.largest_fitting or 0):
        return "largest preferred size"
    is_limit = result.stop_reason == "out_of_memory" and result.mode != "power"
    return "largest that fits" if is_limit else "largest that ran"


def _is_judged(result: BatchSizeResult) -> bool:
    return bool(result.timings) and result.noise_scale is not None


def _sizes(result: BatchSizeResult) -> list[int]:
    return sorted({t.batch_size for t in result.trials} | {t.batch_size for t in result.timings})


def _row(size: int, trial: Trial | None, timing: StepTiming | None, result: BatchSizeResult) -> tuple[str, ...]:
    peak = trial.peak_bytes if trial is not None else None
    speed = timing or trial
    rate = speed.samples_per_second if speed is not None else None
    cells = [
        str(size),
        "fits" if trial is None else trial.outcome.replace("_", " "),  # a larger one does
        "" if peak is None else format_bytes(peak),
        "" if rate is None else format_rate(rate),
    ]
    if _is_judged(result):
        cells += ["", ""] if timing is None else _judged(timing, result)
    return (*cells, ", ".join(_notes(size, result)))


def _judged(timing: StepTiming, result: BatchSizeResult) -> Sequence[str]:
    times = _relative(timing, result)
    return (
        f"{efficiency(timing.samples, result.noise_scale):.0%}",
        f"x {times:.2f}" if times < 9.995 else f"x {times:.0f}",
    )


def _relative(timing: StepTiming, result: BatchSizeResult) -> float:
    return relative_time(timing, result.timings, result.noise_scale)


def _notes(size: int, result: BatchSizeResult) -> list[str]:
    notes = {
        "fastest": result.fastest.batch_size if result.fastest is not None else None,
        largest_name(result): result.largest_fitting,
        "power of two": result.friendly if result.friendly != result.largest_fitting else None,
        "current": result.own.batch_size if result.own is not None else None,
    }
    return [note for note, value in notes.items() if value == size]
