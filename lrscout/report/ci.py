"""What CI services understand beyond plain text: GitHub's commands, GitLab's sections, JUnit's XML."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Protocol

Say = Callable[[str], None]
_COMMAND = re.compile(r"(?m)^(\s*)(::|##\[)")


def harmless(text: str) -> str:
    """The text with no line that GitHub would take for a command."""
    return _COMMAND.sub(r"\1\\\2", text)


class Service(Protocol):
    """Where a log is read: what surrounds the lines of the runs, and how a failure is told."""

    def begin(self) -> None:
        """Code that is not ours begins to run, and may print."""

    def fold(self, title: str) -> None:
        """The lines of the runs begin."""

    def end(self) -> None:
        """The runs are over."""

    def failed(self, message: str) -> None:
        """It did not go as it should."""


class PlainLog:
    """A log without anything of its own."""

    def begin(self) -> None:
        pass

    def fold(self, title: str) -> None:
        pass

    def end(self) -> None:
        pass

    def failed(self, message: str) -> None:
        pass


class GitHub:
    """GitHub Actions: groups, an error annotation, and commands switched off while user code runs.

    Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions.
    """

    def __init__(self, command: Say) -> None:
        self._command = command
        self._token: str | None = None  # what switches commands on again; user code cannot guess it
        self._folded = False

    def begin(self) -> None:
        import secrets  # brings hashlib, which is slow to import and which --help does without

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
        self._command(f"::error title=lrscout compare-schedulers::{_escaped(message)}")


class GitLab(PlainLog):
    """GitLab: a section that is shown folded.

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
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def github_outputs(values: Sequence[tuple[str, str]]) -> str:
    """Lines for GITHUB_OUTPUT."""
    return "".join(f"{name}={' '.join(value.split())}\n" for name, value in values)


def junit_xml(suite: str, cases: Sequence[tuple[str, bool, str]], seconds: float) -> str:
    """Cases of a name, whether it passed, and what is told about it, as JUnit's XML."""
    from xml.etree import ElementTree

    failures = sum(not passed for _, passed, _ in cases)
    shared = {"name": suite, "tests": str(len(cases)), "failures": str(failures), "time": f"{seconds:.3f}"}
    root = ElementTree.Element("testsuites", shared)
    parent = ElementTree.SubElement(root, "testsuite", {**shared, "errors": "0"})
    for name, passed, told in cases:
        case = ElementTree.SubElement(parent, "testcase", {"classname": suite, "name": _xml_text(name)})
        if passed:
            ElementTree.SubElement(case, "system-out").text = _xml_text(told)
        else:
            ElementTree.SubElement(case, "failure", {"message": _xml_text(told)}).text = _xml_text(told)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml_text(text: str) -> str:
    """Without the characters that XML has no place for."""
    return "".join(c if c in "\t\n" or (c >= " " and c not in "\x7f\ufffe\uffff") else "?" for c in text)
