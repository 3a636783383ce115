"""Progress on the message stream: one line that changes on a terminal, a few plain lines anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import IO, TYPE_CHECKING, Protocol, TextIO, cast

from lrscout.report.numbers import format_left, format_loss, format_lr
from lrscout.report.streams import write_safely
from lrscout.report.terminal import Style, columns, is_terminal

if TYPE_CHECKING:
    from rich.live import Live

REDRAW_SECONDS = 0.1
PLAIN_SHARE = 10  # a plain line each time another tenth of the steps is done
PLAIN_SECONDS = 30.0  # or when nothing was said for this long
LONGEST_BAR, SHORTEST_BAR = 30, 8  # columns

Say = Callable[[str], None]
Loud = Callable[[Say | None], None]  # tells the sink how to write while the line is on the screen


class Progress(Protocol):
    """What a long loop tells about itself; cheap enough to be called every training step."""

    def update(self, step: int, lr: float, loss: float) -> None:
        """Say that `step` steps are done, the last at this rate with this loss."""


class NoProgress:
    """Quiet."""

    def update(self, step: int, lr: float, loss: float) -> None:
        pass


class PlainProgress:
    """A line for every tenth of the steps, and at least one every half minute."""

    def __init__(self, total: int, label: str, say: Say, clock: Callable[[], float] = monotonic) -> None:
        self._total, self._label, self._say, self._clock = total, label, say, clock
        self._next_step = self._after(0)
        self._next_time = clock() + PLAIN_SECONDS

    def _after(self, step: int) -> int:
        """The first step at which another tenth is done."""
        tenth = step * PLAIN_SHARE // max(self._total, 1) + 1
        return min(max(-(-tenth * self._total // PLAIN_SHARE), step + 1), max(self._total, step + 1))

    def update(self, step: int, lr: float, loss: float) -> None:
        if step < self._next_step and self._clock() < self._next_time:
            return
        self._next_step, self._next_time = self._after(step), self._clock() + PLAIN_SECONDS
        facts = f"lr {format_lr(lr)}  loss {format_loss(loss)}"
        self._say(f"{self._label}  step {step}/{self._total}  {facts}")


class LiveProgress:
    """One line with a bar, redrawn at most ten times a second and gone at the end."""

    def __init__(self, total: int, label: str, live: Live, width: Callable[[], int], unicode: bool) -> None:
        self._total, self._label, self._live, self._width, self._unicode = total, label, live, width, unicode
        self._start = monotonic()
        self._next = 0.0

    def update(self, step: int, lr: float, loss: float) -> None:
        now = monotonic()
        if now < self._next:
            return
        from rich.text import Text

        left = (now - self._start) / step * (self._total - step) if step else None
        width = self._width()
        text = progress_line((step, self._total), self._label, lr, loss, left, width - 1, self._unicode)
        self._live.console.width = width  # the window may have changed
        line = Text(text, no_wrap=True, overflow="crop")
        line.highlight_regex("━+|#+", "bright_blue")
        self._live.update(line, refresh=True)
        self._next = monotonic() + REDRAW_SECONDS


def progress_line(
    done: tuple[int, int], label: str, lr: float, loss: float, left: float | None, width: int, unicode: bool
) -> str:
    """The line within its width: the bar gives way first, then the label, the time left, the loss."""
    count = f"{done[0]:>{len(str(done[1]))}}/{done[1]}"
    parts = [label, count, f"lr {format_lr(lr)}", f"loss {format_loss(loss)}", _left(left)]
    # measured with the widest numbers, so that the bar keeps its length while they change
    bar = min(LONGEST_BAR, width - len(f"{label}    {count}  lr -1.0e-10  loss -1.234e-10  00:00 left"))
    if bar >= SHORTEST_BAR:
        return "  ".join(filter(None, [label, _bar(done[0] / max(done[1], 1), bar, unicode), *parts[1:]]))
    for shorter in (parts, parts[1:], parts[1:4], parts[1:3]):
        line = "  ".join(filter(None, shorter))
        if len(line) <= width:
            return line
    return count[: max(width, 0)]


def _bar(share: float, width: int, unicode: bool) -> str:
    full = min(int(share * width), width)
    return ("━" if unicode else "#") * full + ("─" if unicode else "-") * (width - full)


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{format_left(seconds)} left"


@contextmanager
def live_progress(total: int, label: str, stream: TextIO, style: Style, loud: Loud) -> Iterator[Progress]:
    """A progress line on a terminal; messages meanwhile, and the user's own prints, go above it."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(
        file=cast(IO[str], _Forgiving(stream)),
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
        auto_refresh=False,  # no thread: a training step may fork
        transient=True,
        redirect_stdout=is_terminal(sys.stdout),  # a piped stdout holds results and stays as it is
        redirect_stderr=is_terminal(sys.stderr),
    )
    with live:
        loud(lambda text: console.print(Text.from_ansi(text), soft_wrap=True))
        try:
            yield LiveProgress(total, label, live, lambda: columns(stream) or style.width, style.unicode)
        finally:
            loud(None)


def plain_progress(total: int, label: str, say: Say) -> AbstractContextManager[Progress]:
    return _still(PlainProgress(total, label, say))


def no_progress() -> AbstractContextManager[Progress]:
    return _still(NoProgress())


@contextmanager
def _still(progress: Progress) -> Iterator[Progress]:
    yield progress


class _Forgiving:
    """A stream for rich that neither raises nor, as rich does over a broken pipe, ends the process."""

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
