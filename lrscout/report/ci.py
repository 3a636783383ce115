"""Formats for CI services: GitHub's workflow commands, GitLab's sections, JUnit's XML."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from lrscout.formatting import format_clock, format_loss, format_lr, format_seconds
from lrscout.report.terminal import printable, printable_lines
from lrscout.results import ComparedRun

Say = Callable[[str], None]
_COMMAND = re.compile(r"(^|[\r\n])([^\S\r\n]*)::")


def escape_commands(text: str) -> str:
    """The text with everything escaped that GitHub would run: `::` at the start of a line, `##[` anywhere.

    Source: https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs.
    """
    return _COMMAND.sub(r"\1\2\\::", text).replace("##[", "##\\[")


class Service(Protocol):
    """A CI service: how its log is folded and how it reports a failure."""

    def begin(self) -> None:
        """User code, which may print anything, starts to run."""

    def fold(self, title: str) -> None:
        """Fold the lines that follow, about the training runs, under a title."""

    def end(self) -> None:
        """The runs are finished: end the fold."""

    def failed(self, message: str) -> None:
        """Report a failure."""


class PlainLog:
    """A log without any features."""

    def begin(self) -> None:
        pass

    def fold(self, title: str) -> None:
        pass

    def end(self) -> None:
        pass

    def failed(self, message: str) -> None:
        pass


class GitHub:
    """GitHub Actions: groups, error annotations, and workflow commands disabled while user code runs.

    Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions.
    """

    def __init__(self, command: Say, title: str = "lrscout") -> None:
        self._command, self._title = command, title
        self._token: str | None = None  # enables commands again; user code cannot guess it
        self._folded = False

    def begin(self) -> None:
        import secrets  # slow to import because of hashlib; --help does not need it

        self._token = secrets.token_hex(16)
        self._command(f"::stop-commands::{self._token}")

    def _resume(self) -> None:
        if self._token is not None:
            self._command(f"::{self._token}::")
            self._token = None

    def fold(self, title: str) -> None:
        if not self._folded:
            self._folded = True
            self._resume()
            self._command(f"::group::{_escaped(title)}")
            self.begin()

    def end(self) -> None:
        self._resume()
        if self._folded:
            self._folded = False
            self._command("::endgroup::")

    def failed(self, message: str) -> None:
        self.end()
        self._command(f"::error title={self._title}::{_escaped(message)}")


class GitLab(PlainLog):
    """GitLab: a collapsed section.

    Source: https://docs.gitlab.com/ci/jobs/job_logs.
    """

    def __init__(self, command: Say, clock: Callable[[], float] = time.time) -> None:
        self._command, self._clock = command, clock
        self._folded = False

    def fold(self, title: str) -> None:
        if not self._folded:
            self._folded = True
            self._command(f"\x1b[0Ksection_start:{self._clock():.0f}:lrscout_runs[collapsed=true]\r\x1b[0K{title}")

    def end(self) -> None:
        if self._folded:
            self._folded = False
            self._command(f"\x1b[0Ksection_end:{self._clock():.0f}:lrscout_runs\r\x1b[0K")


def _escaped(text: str) -> str:
    return escape_commands(printable_lines(text)).replace("%", "%25").replace("\n", "%0A")


def github_outputs(values: Sequence[tuple[str, str]]) -> str:
    """Lines for the file GITHUB_OUTPUT."""
    return "".join(f"{name}={printable(' '.join(value.split()))}\n" for name, value in values)


def junit_xml(suite: str, cases: Sequence[tuple[str, bool, str]], seconds: float) -> str:
    """Test cases as JUnit's XML. Each is a name, whether it passed, and a message."""
    from xml.etree import ElementTree

    failures = sum(not passed for _, passed, _ in cases)
    shared = {"name": suite, "tests": str(len(cases)), "failures": str(failures), "time": f"{seconds:.3f}"}
    root = ElementTree.Element("testsuites", shared)
    parent = ElementTree.SubElement(root, "testsuite", {**shared, "errors": "0"})
    for name, passed, message in cases:
        case = ElementTree.SubElement(parent, "testcase", {"classname": suite, "name": _xml_text(name)})
        if passed:
            ElementTree.SubElement(case, "system-out").text = _xml_text(message)
        else:
            ElementTree.SubElement(case, "failure", {"message": _xml_text(message)}).text = _xml_text(message)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml_text(text: str) -> str:
    """The text with control characters escaped, most of which XML does not allow."""
    return printable_lines(text)


def run_line(run: ComparedRun, done: int, total: int, seconds_left: float | None) -> str:
    """A finished run as one line of a log."""
    outcome = format_loss(run.final) if run.final is not None else run.status.replace("_", "-")
    seed = "tuning" if run.role == "tune" else f"seed {run.seed}"
    left = "" if seconds_left is None else f"  {format_clock(seconds_left)} left"
    count = f"run {done:>{len(str(total))}}/{total}"
    line = f"{count}  {run.label}  {seed}  lr {format_lr(run.peak_lr)}  {outcome}"
    return f"{line}  {format_seconds(run.seconds)}{left}"
