"""The view of each command: a module of functions that show its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from lrscout.errors import UsageError
from lrscout.errors import summary as told
from lrscout.report.blocks import Block
from lrscout.report.terminal import Style, printable
from lrscout.results import BatchSizeResult, CheckResult, CompareResult, LrResult, RunRecord, TrainRunResult, TuneResult

R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)

VIEWS = {
    "check": "lrscout.report.check",
    "find-lr": "lrscout.report.find_lr",
    "find-batch-size": "lrscout.report.find_batch_size",
    "compare-schedulers": "lrscout.report.compare_schedulers",
    "run": "lrscout.report.run",
    "tune": "lrscout.report.tune",
}
"""The module of each command, imported when a record is shown."""


class View(Protocol[R_contra]):
    """The functions of a view module. They accept records whose result is None."""

    def details(self, record: RunRecord[R_contra], style: Style) -> str:
        """What leads to the answer: facts, plots and tables; empty without a result."""

    def closing(self, record: RunRecord[R_contra], style: Style) -> str:
        """The answer, with which the output ends."""

    def headline(self, record: RunRecord[R_contra]) -> str:
        """The result in one line."""

    def facts(self, record: RunRecord[R_contra]) -> Mapping[str, str]:
        """How the run went and what it ran on."""

    def answer(self, record: RunRecord[R_contra]) -> str | None:
        """The answer alone, as printed by --quiet."""

    def problem(self, record: RunRecord[R_contra]) -> str | None:
        """Why there is no answer, or None if there is one."""

    def rows(self, record: RunRecord[R_contra]) -> Iterator[Sequence[object]]:
        """The measurements for CSV: a header, then the rows."""

    def blocks(self, record: RunRecord[R_contra]) -> list[Block]:
        """What stands between the headline and the facts in an export."""


def load_view(command: str, plots: bool) -> None:
    """Import what shows the records of a command, before anything of the user's is imported or takes hours.

    Later, a file of theirs may come first: a rich.py or a statistics.py in the folder of the target.

    Raises:
        UsageError: such a file comes first already, as in the folder of `python -m lrscout`.
    """
    try:
        import_module(VIEWS[command])
        if plots:
            import_module("lrscout.report.plot").import_plotext()
    except Exception as error:  # whatever a file does that was never meant for this
        found = [getattr(find_spec(name), "origin", None) for name in ("rich", "plotext")]
        raise UsageError(
            f"rich and plotext cannot be used as they are found, in {' and '.join(map(str, found))}: {told(error)}.",
            hint="Rename a file of yours that has such a name. `lrscout` does not look where `python -m lrscout` does.",
        ) from error


def view_of(record: RunRecord[R]) -> View[R]:
    """The view of the command that made this record."""
    return cast("View[R]", import_module(VIEWS[record.command]))


def summary(record: RunRecord[Any], style: Style) -> str:
    """Everything a person reads; the answer comes last, where it stays on the screen."""
    view = view_of(record)
    return "\n\n".join(filter(None, [view.details(record, style), view.closing(record, style)]))


def printed(record: RunRecord[R]) -> RunRecord[R]:
    """The record with every text in it printable and in one line, whoever wrote it; views show texts as they are."""
    return cast("RunRecord[R]", _printed(record))


def _printed(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: _printed(getattr(value, f.name)) for f in fields(value)})
    if isinstance(value, Mapping):
        return {_printed(key): _printed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_printed, value))
    return value


if TYPE_CHECKING:  # so that mypy checks each module against the protocol
    from lrscout.report import check, compare_schedulers, find_batch_size, find_lr, run, tune

    _check: View[CheckResult] = check
    _find_lr: View[LrResult] = find_lr
    _find_batch_size: View[BatchSizeResult] = find_batch_size
    _compare_schedulers: View[CompareResult] = compare_schedulers
    _run: View[TrainRunResult] = run
    _tune: View[TuneResult] = tune
