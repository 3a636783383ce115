"""A run as the CI service around it sees it: its log, its summary and its outputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from lrscout.commands.invocation import Invocation
from lrscout.errors import ForeignError, RecordError, UsageError, summary
from lrscout.files import append_text
from lrscout.records import to_json
from lrscout.report.ci import GitHub, GitLab, PlainLog, Service, github_outputs
from lrscout.report.exports import to_markdown
from lrscout.report.markdown import inline, markdown_table
from lrscout.report.outputs import outputs
from lrscout.results import RunRecord
from lrscout.search.conditions import Check

MOST_RECORDED = 200_000  # characters of a record in a summary, of which GitHub takes 1 MiB


@contextmanager
def in_ci(command: str, invocation: Invocation[Any], say: Callable[[str], None]) -> Iterator[Service]:
    """Around a run: what the user's code prints is no command to the CI service, which is told of a failure.

    Raises:
        UsageError: --github or --gitlab is neither auto nor off.
    """
    service = _service(command, invocation, say)
    service.begin()
    try:
        yield service
    except typer.Exit:
        raise
    except Exception as error:
        service.failed(summary(error.__cause__ if isinstance(error, ForeignError) and error.__cause__ else error))
        raise
    finally:
        service.end()


def _service(command: str, invocation: Invocation[Any], say: Callable[[str], None]) -> Service:
    for name, value in invocation.ci.items():
        if value not in ("auto", "off"):
            raise UsageError(f"--{name} {value} must be auto or off.")
    if os.environ.get("GITHUB_ACTIONS") == "true" and invocation.ci["github"] == "auto":
        return GitHub(say, f"lrscout {command}")
    if os.environ.get("GITLAB_CI") == "true" and invocation.ci["gitlab"] == "auto":
        return GitLab(say)
    return PlainLog()


def tell_github(record: RunRecord[Any], path: Path | None, checks: Sequence[Check] = ()) -> list[str]:
    """Add to the step's summary and its outputs; returns what went wrong."""
    values = {**outputs(record), "record": "" if path is None else str(path)}
    if checks:
        values["checks"] = "passed" if all(check.passed for check in checks) else "failed"
    texts = {
        "GITHUB_STEP_SUMMARY": _summary(record, checks),
        "GITHUB_OUTPUT": github_outputs([*values.items()]),
    }
    problems = []
    for variable, text in texts.items():
        try:
            if os.environ.get(variable):
                append_text(Path(os.environ[variable]), text)
        except RecordError as error:
            problems.append(error.message)
    return problems


def _summary(record: RunRecord[Any], checks: Sequence[Check]) -> str:
    """The result with its table and plot, the checks, and the record to unfold."""
    blocks = [to_markdown(record).rstrip("\n")]
    if checks:
        rows = [(inline(c.name), "passed" if c.passed else "**failed**", inline(c.detail)) for c in checks]
        blocks.append("### Checks\n\n" + markdown_table(("check", "result", "why"), rows))
    text = to_json(record)
    if len(text) <= MOST_RECORDED:
        fence = "`" * (3 + text.count("```"))  # longer than any in the record
        blocks.append(f"<details><summary>Record</summary>\n\n{fence}json\n{text}\n{fence}\n\n</details>")
    return "\n\n".join(blocks) + "\n"
