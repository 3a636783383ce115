"""`--against FILE`: a check that a new result is near an old one, for CI."""

from __future__ import annotations

import inspect
from typing import Any

from lrscout.commands.invocation import Invocation
from lrscout.commands.options import flag_parameter
from lrscout.commands.run import FAILED_CHECK
from lrscout.differences import QUANTITIES, check_limits, parse_tolerance, values_of
from lrscout.errors import UsageError
from lrscout.history import find_record, short_name
from lrscout.records import consistent, load
from lrscout.results import RunRecord
from lrscout.search.conditions import Check


def gate_flags(section: str) -> list[inspect.Parameter]:
    """The flags of a command that has this check; `section` is its name in recipes."""
    known = QUANTITIES[section.replace("_", "-")]
    limits = ",".join(f"{name}={quantity.limit}" for name, quantity in known.items() if quantity.limit is not None)
    return [
        flag_parameter(
            section,
            "against",
            str | None,
            None,
            "--against",
            group="CI",
            metavar="FILE|ID",
            help=f"Exit with {FAILED_CHECK} if the result is too far from that of this record.",
        ),
        flag_parameter(
            section,
            "tolerance",
            str | None,
            None,
            "--tolerance",
            group="CI",
            metavar="NAME=LIMIT[,...]",
            help=f"How far it may be, as a factor (2x), 10%, a difference, same or any; by default {limits}."
            f" Names: {', '.join(known)}.",
        ),
    ]


class Gate:
    """The check of --against, read before anything runs."""

    def __init__(self, command: str, invocation: Invocation[Any]) -> None:
        """
        Raises:
            UsageError: the record or the tolerance cannot be used.
        """
        named, tolerance = invocation.more["against"], invocation.more["tolerance"]
        self._old: RunRecord[Any] | None = None
        if named is None:
            if tolerance is not None:
                raise UsageError(
                    "--tolerance needs --against.", hint="Give the record to compare with: --against FILE."
                )
            return
        self._limits = parse_tolerance(tolerance, command)
        path = find_record(named)
        self._old, self._called = load(path), short_name(path)
        if self._old.command != command:
            raise UsageError(f"--against {named} is a record of {self._old.command}.", hint=f"Give one of {command}.")
        with consistent(str(path)):
            known = values_of(self._old)
        if all(known[name] is None for name in self._limits):
            wanted = " or ".join(self._limits)
            raise UsageError(
                f"--against {named} has no {wanted} to compare with.", hint="Give a run that has a result."
            )

    def checks(self, record: RunRecord[Any]) -> list[Check]:
        """How near the result is to the old one; none without one, or for a run that was interrupted."""
        if self._old is None or record.status == "interrupted":
            return []
        return check_limits(self._old, record, self._limits, self._called)
