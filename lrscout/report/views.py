"""How each command's record is shown: a module a command, all with the same functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Protocol, cast

from lrscout.report.terminal import Style
from lrscout.results import RunRecord

VIEWS = {
    "find-lr": "lrscout.report.find_lr",
    "find-batch-size": "lrscout.report.find_batch_size",
    "compare-schedulers": "lrscout.report.compare_schedulers",
}
"""Every command's module of this form; it is imported when a record is shown."""


class View(Protocol):
    """What a command's module in `report/` offers; `record.result` may be None but for `markdown`."""

    def summary(self, record: RunRecord, style: Style) -> str:
        """All that a person reads: tables and plots."""

    def headline(self, record: RunRecord) -> str:
        """The result in one line."""

    def facts(self, record: RunRecord) -> Mapping[str, str]:
        """How it went and on what."""

    def answer(self, record: RunRecord) -> str | None:
        """What --quiet prints."""

    def problem(self, record: RunRecord) -> str | None:
        """Why there is no answer; None where there is one."""

    def rows(self, record: RunRecord) -> Iterator[Sequence[object]]:
        """What was measured, for CSV: the header, then a row each."""

    def markdown(self, record: RunRecord) -> list[str]:
        """The blocks between the headline and the facts."""


def view_of(record: RunRecord) -> View:
    """The view of the command that made this record."""
    return cast(View, import_module(VIEWS[record.command]))
