"""Amounts as people write them: 11GiB, 80%, 2%, 10m."""

from __future__ import annotations

import re

from lrscout.errors import UsageError

UNITS = {"b": 1, **{f"{p}b": 1000**i for i, p in enumerate("kmgt", 1)}}
UNITS |= {f"{p}ib": 1024**i for i, p in enumerate("kmgt", 1)} | {p: 1024**i for i, p in enumerate("kmgt", 1)}
SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST = 40  # characters of an amount, all of whose digits mean something to nobody
_AMOUNT = re.compile(r"([0-9]*\.?[0-9]+)\s*([A-Za-z%]*)")


def _amount(text: str, flag: str) -> re.Match[str] | None:
    if len(text) > LONGEST:
        raise UsageError(
            f"{flag} {text[:LONGEST]}... has {len(text)} characters; an amount has at most {LONGEST}.",
            hint="Give fewer digits.",
        )
    return _AMOUNT.fullmatch(text.strip())


def share(text: str, flag: str) -> float:
    """A percentage as a share: 5% is 0.05; a number from 0 to below 1 is one already.

    Raises:
        UsageError: it is neither, or not below 100%.
    """
    found = _amount(text, flag)
    value = float(found[1]) / (100 if found[2] == "%" else 1) if found and found[2] in ("", "%") else -1.0
    if not 0 <= value < 1:
        raise UsageError(f"{flag} {text} must be a share.", hint=f"For example {flag} 5%; it must be below 100%.")
    return value


def memory_bytes(text: str, available: int | None, flag: str = "--budget") -> int:
    """An amount of memory in bytes; a percentage is of what is available.

    Raises:
        UsageError: it is not an amount of memory, or a percentage of an unknown amount.
    """
    found = _amount(text, flag)
    hint = f"For example {flag} 11GiB, 800MiB, or 80% of what is free."
    if found is not None and not found[2]:
        raise UsageError(f"{flag} {text} needs a unit.", hint=hint)
    if found is None or (found[2] != "%" and found[2].lower() not in UNITS):
        raise UsageError(f"{flag} {text} is not an amount of memory.", hint=hint)
    if found[2] == "%":
        if available is None:
            raise UsageError(f"{flag} {text} cannot be used: this device does not report its memory.", hint=hint)
        wanted = int(available * float(found[1]) / 100)
    else:
        wanted = int(float(found[1]) * UNITS[found[2].lower()])
    if wanted < 1:
        raise UsageError(f"{flag} {text} is less than one byte.", hint=hint)
    return wanted


def seconds(text: str, flag: str, hint: str) -> float:
    """A time in seconds; a number without a unit is in seconds.

    Raises:
        UsageError: it is not a time, or zero.
    """
    found = _amount(text, flag)
    if found is None or found[2] not in SECONDS or not float(found[1]):
        raise UsageError(f"{flag} {text} is not a time.", hint=hint)
    return float(found[1]) * SECONDS[found[2]]


def friendly_step(text: str | None) -> int | None:
    """The N of `multiple-of-N`; None means powers of two.

    Raises:
        UsageError: the text is anything else.
    """
    if text is None:
        return None
    found = re.fullmatch(r"multiple-of[ :=-]?([1-9][0-9]{0,17})", text.strip())
    if found is None:
        raise UsageError(f"--prefer {text!r} must be multiple-of-N.", hint="For example --prefer multiple-of-8.")
    return int(found[1])
