"""Progress on the message stream: a line that is redrawn on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, Protocol, TextIO, cast

from lrscout.formatting import format_clock, format_loss, format_lr
from lrscout.report.progress_line import TimeLeft, progress_line
from lrscout.report.streams import write_safely
from lrscout.report.terminal import Style, is_terminal, printable, size
from lrscout.report.ticker import Ticker

if TYPE_CHECKING:
    from rich.live import Live

REDRAW_SECONDS = 0.1
CLOCK_SECONDS = 0.5  # between two redraws of a clock
TELLING_SECONDS = 1.0  # a phase that takes longer is told in a log
PLAIN_SHARE = 10  # plain lines over the whole loop, at equal distances
PLAIN_SECONDS = 30.0  # a plain line is written at least this often

Say = Callable[[str], None]
Facts = Callable[..., Sequence[str]]  # from the values given to `update` to texts, the most important first
SetAbove = Callable[[Say | None], None]  # sets how messages are written while the line is shown


class Progress(Protocol):
    """The progress of a long loop; cheap enough to be updated at every training step."""

    def update(self, step: int, *values: Any) -> None:
        """Report that `step` steps are done, with the values for the facts."""

    def expect(self, total: int) -> None:
        """Change the expected number of steps, those of all phases together."""

    def phase(self, name: str) -> None:
        """Something begins that may take a while, with steps or without."""


def sweep_facts(lr: float, loss: float) -> tuple[str, str]:
    """The learning rate and the loss of a step."""
    return f"lr {format_lr(lr)}", f"loss {format_loss(loss)}"


class NoProgress:
    """Shows nothing."""

    def update(self, step: int, *values: Any) -> None:
        pass

    def expect(self, total: int) -> None:
        pass

    def phase(self, name: str) -> None:
        pass


class PlainProgress:
    """A line for every tenth of the steps and at least every half minute, or for every step if the total is unknown.

    A phase that takes more than a moment to its first step is told by `aside`, which another thread calls.
    """

    def __init__(
        self,
        total: int | None,
        label: str,
        say: Say,
        facts: Facts = sweep_facts,
        clock: Callable[[], float] = monotonic,
        aside: Say | None = None,
    ) -> None:
        self._aside, self._phase = aside or say, ""
        self._ticker: Ticker | None = None
        self._total, self._label, self._say, self._facts, self._clock = total, label, say, facts, clock
        self._done = 0
        self._next_step = self._after(0)
        self._next_time = clock() + PLAIN_SECONDS

    def expect(self, total: int) -> None:
        self._total = total
        self._next_step = self._after(self._done)

    def phase(self, name: str) -> None:
        self.rest()
        self._phase = name
        self._ticker = Ticker(self._tell_phase, TELLING_SECONDS)
        self._ticker.start()

    def rest(self) -> None:
        """The phase has come to its first step, or to its end."""
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None

    def _tell_phase(self) -> bool:
        self._aside(f"{self._label}  {self._phase}")
        return False

    def _after(self, step: int) -> float:
        """The first step at which another tenth is done; infinite beyond the total, which may be an estimate."""
        if self._total is None:
            return step + 1
        if step >= self._total:
            return math.inf
        tenth = step * PLAIN_SHARE // max(self._total, 1) + 1
        return min(max(-(-tenth * self._total // PLAIN_SHARE), step + 1), self._total)

    def update(self, step: int, *values: Any) -> None:
        if self._ticker is not None:
            self.rest()
        self._done = step
        if step < self._next_step and self._clock() < self._next_time:
            return
        self._next_step, self._next_time = self._after(step), self._clock() + PLAIN_SECONDS
        of = "" if self._total is None or step > self._total else f"/{self._total}"
        count = () if self._total is None else (f"step {step}{of}",)
        self._say("  ".join((*filter(None, (self._label, self._phase)), *count, *self._facts(*values))))


class LiveProgress:
    """A line with a bar, redrawn at most ten times per second and removed at the end.

    In a phase that has had no step yet, a clock moves in its place, in another thread.
    """

    def __init__(
        self, total: int | None, label: str, live: Live, width: Callable[[], int], unicode: bool, facts: Facts
    ) -> None:
        from rich.text import Text

        self._total, self._label, self._live, self._width, self._unicode = total, label, live, width, unicode
        self._facts, self._text = facts, Text
        self._left = TimeLeft()
        self._done, self._began, self._next = 0, 0.0, 0.0
        self._ticker: Ticker | None = None

    def expect(self, total: int) -> None:
        self._total = total

    def phase(self, name: str) -> None:
        self.rest()
        self._label, self._began = name, monotonic()
        if not self._done:  # else the bar would only flicker
            self._show_clock()
        self._ticker = Ticker(self._show_clock, CLOCK_SECONDS)
        self._ticker.start()

    def rest(self) -> None:
        """The phase has come to its first step, or to its end."""
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None

    def _show_clock(self) -> bool:
        clock = format_clock(int(monotonic() - self._began))
        self._draw([clock], None, self._done, self._total if self._done else None)
        return True

    def update(self, step: int, *values: Any) -> None:
        if self._ticker is not None:
            self.rest()
        now = monotonic()
        if now < self._next:
            return
        self._done = step
        self._draw(self._facts(*values), self._left.after(step, self._total, now), step, self._total)
        self._next = monotonic() + REDRAW_SECONDS

    def _draw(self, facts: Sequence[str], left: float | None, step: int, total: int | None) -> None:
        width = self._width()
        text = progress_line((step, total), self._label, facts, left, width - 1, self._unicode)
        self._live.console.width = width  # the terminal may have been resized
        line = self._text(printable(text), no_wrap=True, overflow="crop")
        line.highlight_regex("━+|#+", "bright_blue")
        self._live.update(line, refresh=True)


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
        auto_refresh=False,  # its thread would not end before a fork
        transient=True,
        redirect_stdout=is_terminal(sys.stdout),  # a piped stdout is for results
        redirect_stderr=is_terminal(sys.stderr),
    )
    try:
        with live:
            set_above(lambda text: console.print(Text.from_ansi(text), soft_wrap=True))
            width = lambda: size(stream).columns or style.width  # noqa: E731
            progress = LiveProgress(total, label, live, width, style.unicode, facts)
            try:
                yield progress
            finally:
                progress.rest()
    except BaseException:
        console.show_cursor()  # Ctrl-C may have come just after `live` has hidden it
        raise
    finally:
        set_above(None)


@contextmanager
def plain_progress(
    total: int | None, label: str, say: Say, aside: Say, facts: Facts = sweep_facts
) -> Iterator[Progress]:
    """Progress as lines of a log; `aside` writes one from another thread."""
    progress = PlainProgress(total, label, say, facts, aside=aside)
    try:
        yield progress
    finally:
        progress.rest()


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
