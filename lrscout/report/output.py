"""The output of a command: results go to stdout, everything else to stderr."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Literal, TextIO, get_args

from lrscout.errors import LrscoutError, OutputError
from lrscout.report.ci import escape_commands
from lrscout.report.progress import (
    Facts,
    Progress,
    Say,
    live_progress,
    no_progress,
    plain_progress,
    sweep_facts,
)
from lrscout.report.streams import write, write_aside, write_safely
from lrscout.report.terminal import detect, printable_lines
from lrscout.tracebacks import user_traceback

Color = Literal["auto", "always", "never"]
COLORS: tuple[Color, ...] = get_args(Color)
Mode = Literal["human", "json", "quiet"]
RED, YELLOW, DIM = "\x1b[1;31m", "\x1b[1;33m", "\x1b[2m"

__all__ = ["Output", "Progress"]


class Output:
    """Writes results to stdout and messages to stderr.

    Control characters are escaped, and so are characters that cannot be encoded: whatever a text quotes, it is only
    read. A broken pipe raises BrokenPipeError for results and is ignored for messages.
    """

    def __init__(
        self,
        results: TextIO | None,
        messages: TextIO | None,
        *,
        mode: Mode = "human",
        width: int | None = None,
        verbose: bool = False,
        color: Color = "auto",
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._results, self._messages = results, messages
        self._escaped = escape_commands if environ.get("GITHUB_ACTIONS") == "true" else str
        self._above: Say | None = None  # writes above the progress line, if there is one
        self.mode = mode
        if color != "auto":
            given = {"FORCE_COLOR": "1"} if color == "always" else {"NO_COLOR": "1"}
            environ = {**{name: environ[name] for name in environ if name != "NO_COLOR"}, **given}
        self.results_style = detect(results, environ, width, verbose)
        self.messages_style = detect(messages, environ, width)

    def result(self, text: str) -> None:
        """Write a block of the result, followed by a newline.

        Raises:
            BrokenPipeError: the reader has closed the pipe.
            OutputError: it cannot be written for another reason.
        """
        text = printable_lines(text, self.results_style.color)
        try:
            write(self._results, self._escaped(text).rstrip("\n") + "\n")
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"Cannot write the result to stdout: {error.strerror or error}.") from error

    def command(self, text: str) -> None:
        """Write a command to the CI service."""
        write_safely(self._messages, text + "\n")

    def note(self, text: str, dim: bool = False) -> None:
        """Write information, unless the mode is quiet."""
        if self.mode != "quiet":
            text = printable_lines(_indented(text))
            self._write(self._colored(text, DIM) if dim else text)

    def relay(self, line: str) -> None:
        """Write a line that another program printed: its colors are its own."""
        if self.mode != "quiet":
            self._write(line)

    def warn(self, text: str) -> None:
        """Write a warning."""
        self._say(_indented(text), self._colored("Warning:", YELLOW) + " ")

    def error(self, error: LrscoutError) -> None:
        """Write an error and its hint."""
        self._say(_indented(error.message), self._colored("Error:", RED) + " ")
        if error.hint is not None:
            self._say(error.hint)

    def user_error(self, error: BaseException) -> None:
        """Write the traceback of an exception in user code."""
        self._say(user_traceback(error))

    def progress(self, total: int | None, label: str, facts: Facts = sweep_facts) -> AbstractContextManager[Progress]:
        """A context manager that shows the progress of a loop; `total` is None if unknown."""
        if self.mode == "quiet" or self._messages is None:
            return no_progress()
        if self.messages_style.live:
            return live_progress(total, label, self._messages, self.messages_style, self._set_above, facts)
        return plain_progress(total, label, self._say, self._say_aside, facts)

    def _set_above(self, say: Say | None) -> None:
        self._above = say

    def _say(self, text: str, prefix: str = "") -> None:
        self._write(prefix + printable_lines(text))

    def _write(self, text: str) -> None:
        text = self._escaped(text)
        if self._above is not None:
            self._above(text.rstrip("\n"))
        else:
            write_safely(self._messages, text.rstrip("\n") + "\n")

    def _say_aside(self, text: str) -> None:
        write_aside(self._messages, self._escaped(printable_lines(text)) + "\n")

    def _colored(self, text: str, code: str) -> str:
        return f"{code}{text}\x1b[0m" if self.messages_style.color else text


def _indented(text: str) -> str:
    """The text with its further lines indented, so that none of them can pass for a message of its own."""
    return text.replace("\n", "\n  ")
