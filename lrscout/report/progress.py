"""Progress on the message stream: a line that is redrawn on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, Protocol, TextIO, cast

from lrscout.formatting import format_clock, format_loss, format_lr
from lrscout.report.streams import write_safely
from lrscout.report.terminal import Style, is_terminal, printable, size

if TYPE_CHECKING:
    from rich.live import Live

REDRAW_SECONDS = 0.1
PLAIN_SHARE = 10  # plain lines over the whole loop, at equal distances
PLAIN_SECONDS = 30.0  # a plain line is written at least this often
LONGEST_BAR, SHORTEST_BAR = 30, 8  # columns
FACT_COLUMNS = 15  # reserved for each fact, so that the bar keeps its length while they change

Say = Callable[[str], None]
Facts = Callable[..., Sequence[str]]  # from the values given to `update` to texts, the most important first
SetAbove = Callable[[Say | None], None]  # sets how messages are written while the line is shown


class Progress(Protocol):
    """The progress of a long loop; cheap enough to be updated at every training step."""

    def update(self, step: int, *values: Any) -> None:
        """Report that `step` steps are done, with the values for the facts."""

    def expect(self, total: int) -> None:
        """Change the expected number of steps."""


def sweep_facts(lr: float, loss: float) -> tuple[str, str]:
    """The learning rate and the loss of a step."""
    return f"lr {format_lr(lr)}", f"loss {format_loss(loss)}"


class NoProgress:
    """Shows nothing."""

    def update(self, step: int, *values: Any) -> None:
        pass

    def expect(self, total: int) -> None:
        pass


class PlainProgress:
    """A line for every tenth of the steps and at least every half minute, or for every step if the total is unknown."""

    def __init__(
        self,
        total: int | None,
        label: str,
        say: Say,
        facts: Facts = sweep_facts,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._total, self._label, self._say, self._facts, self._clock = total, label, say, facts, clock
        self._done = 0
        self._next_step = self._after(0)
        self._next_time = clock() + PLAIN_SECONDS

    def expect(self, total: int) -> None:
        self._total = total
        self._next_step = self._after(self._done)

    def _after(self, step: int) -> float:
        """The first step at which another tenth is done; infinite beyond the total, which may be an estimate."""
        if self._total is None:
            return step + 1
        if step >= self._total:
            return math.inf
        tenth = step * PLAIN_SHARE // max(self._total, 1) + 1
        return min(max(-(-tenth * self._total // PLAIN_SHARE), step + 1), self._total)

    def update(self, step: int, *values: Any) -> None:
        self._done = step
        if step < self._next_step and self._clock() < self._next_time:
            return
        self._next_step, self._next_time = self._after(step), self._clock() + PLAIN_SECONDS
        of = "" if self._total is None or step > self._total else f"/{self._total}"
        count = () if self._total is None else (f"step {step}{of}",)
        self._say("  ".join((self._label, *count, *self._facts(*values))))


class LiveProgress:
    """A line with a bar, redrawn at most ten times per second and removed at the end."""

    def __init__(
        self, total: int | None, label: str, live: Live, width: Callable[[], int], unicode: bool, facts: Facts
    ) -> None:
        self._total, self._label, self._live, self._width, self._unicode = total, label, live, width, unicode
        self._facts = facts
        self._start = monotonic()
        self._next = 0.0

    def expect(self, total: int) -> None:
        self._total = total

    def update(self, step: int, *values: Any) -> None:
        now = monotonic()
        if now < self._next:
            return
        from rich.text import Text

        left = None
        if step and self._total is not None:
            left = (now - self._start) / step * max(self._total - step, 0)
        width = self._width()
        facts = self._facts(*values)
        text = progress_line((step, self._total), self._label, facts, left, width - 1, self._unicode)
        self._live.console.width = width  # the terminal may have been resized
        line = Text(printable(text), no_wrap=True, overflow="crop")
        line.highlight_regex("━+|#+", "bright_blue")
        self._live.update(line, refresh=True)
        self._next = monotonic() + REDRAW_SECONDS


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


@contextmanager
def live_progress(
    total: int | None, label: str, stream: TextIO, style: Style, set_above: SetAbove, facts: Facts = sweep_facts
) -> Iterator[Progress]:
    """A progress line on a terminal; messages, and whatever user code prints, appear above it."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(
        file=cast(IO[str], _SafeStream(stream)),
        force_terminal=True,
        color_system="standard" if style.color else None,
        no_color=not style.color,
        width=style.width,
        markup=False,
        highlight=False,
        legacy_windows=False,
        _environ={},
    )
    live = Live(
        console=console,
        auto_refresh=False,  # no thread, because a training step may fork
        transient=True,
        redirect_stdout=is_terminal(sys.stdout),  # a piped stdout is for results
        redirect_stderr=is_terminal(sys.stderr),
    )
    try:
        with live:
            set_above(lambda text: console.print(Text.from_ansi(text), soft_wrap=True))
            yield LiveProgress(total, label, live, lambda: size(stream).columns or style.width, style.unicode, facts)
    except BaseException:
        console.show_cursor()  # Ctrl-C may have come just after `live` has hidden it
        raise
    finally:
        set_above(None)


def plain_progress(
    total: int | None, label: str, say: Say, facts: Facts = sweep_facts
) -> AbstractContextManager[Progress]:
    return nullcontext(PlainProgress(total, label, say, facts))


def no_progress() -> AbstractContextManager[Progress]:
    return nullcontext(NoProgress())


class _SafeStream:
    """A stream for rich that ignores errors; with a plain one, a broken pipe would make rich exit the process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        write_safely(self._stream, text, flush=False)
        return len(text)

    def flush(self) -> None:
        write_safely(self._stream, "")

    def isatty(self) -> bool:
        return is_terminal(self._stream)

    def fileno(self) -> int:
        return self._stream.fileno()
