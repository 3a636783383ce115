"""What the progress line says: as much as fits of a bar, the facts and the time left."""

from __future__ import annotations

from collections.abc import Sequence

from lrscout.formatting import format_clock

LONGEST_BAR, SHORTEST_BAR = 30, 8  # columns
FACT_COLUMNS = 15  # reserved for each fact, so that the bar keeps its length while they change
WORTH_SECONDS = 2.0  # of steps, after which the time left can be told


def progress_line(
    done: tuple[int, int | None], label: str, facts: Sequence[str], left: float | None, width: int, unicode: bool
) -> str:
    """The line, without what does not fit: first the bar, then the label, the time left, and the facts from the last.

    If the total is unknown, or was exceeded, the line has only the label and the facts.
    """
    step, total = done
    if total is None or step > total:
        return _within(width, [label, *facts], [*facts], *([*facts[:n]] for n in range(len(facts) - 1, 0, -1)))
    count = f"{step:>{len(str(total))}}/{total}"
    reserved = sum(2 + max(len(fact), FACT_COLUMNS) for fact in facts)
    bar = min(LONGEST_BAR, width - len(f"{label}    {count}  00:00 left") - reserved)
    if bar >= SHORTEST_BAR:
        return "  ".join(filter(None, [label, _bar(step / max(total, 1), bar, unicode), count, *facts, _left(left)]))
    fewer = ([count, *facts[:n]] for n in range(len(facts), 0, -1))
    return _within(width, [label, count, *facts, _left(left)], [count, *facts, _left(left)], *fewer, [count])


def _within(width: int, *choices: Sequence[str]) -> str:
    """The first choice that fits, or the last one cut to the width."""
    lines = ["  ".join(filter(None, parts)) for parts in choices]
    return next((line for line in lines if len(line) <= width), lines[-1][: max(width, 0)])


def _bar(share: float, width: int, unicode: bool) -> str:
    full = min(int(share * width), width)
    return ("━" if unicode else "#") * full + ("─" if unicode else "-") * (width - full)


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{format_clock(seconds)} left"


class TimeLeft:
    """The time that the steps to come will take, by those since the first one, which takes longer than others."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None  # the step with which the count begins, and when it was

    def after(self, step: int, total: int | None, now: float) -> float | None:
        """The seconds left, or None as long as nobody can tell."""
        if self._first is None:
            self._first = step, now
        began, since = self._first
        if total is None or step <= began or now - since < WORTH_SECONDS:
            return None
        return (now - since) / (step - began) * max(total - step, 0)
