"""What a check may say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lrscout.results import Check, CheckStatus

if TYPE_CHECKING:
    from lrscout.engine.checking.subject import Subject

SEVERITY: tuple[CheckStatus, ...] = ("skip", "ok", "warn", "fail")
SHOWN_NAMES = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check has seen."""

    status: CheckStatus
    detail: str
    advice: str | None = None


ok, skip, warn, fail = (partial(Finding, status) for status in ("ok", "skip", "warn", "fail"))
CheckFunction = Callable[["Subject"], Iterable[Finding]]


def merged(name: str, findings: Iterable[Finding]) -> Check:
    """A check from all that it has seen: the worst comes first and decides."""
    ordered = sorted(findings, key=lambda finding: -SEVERITY.index(finding.status))
    advice = [finding.advice for finding in ordered if finding.advice is not None]
    detail = "; ".join(finding.detail for finding in ordered)
    return Check(name, ordered[0].status, detail, " ".join(advice) or None)


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """1 step, 2 steps."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def named(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
