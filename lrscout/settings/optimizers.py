"""Which of several optimizers --optimizer names."""

from __future__ import annotations

from collections.abc import Sequence

from lrscout.errors import UsageError

ALL, EACH = "all", "each"  # of --optimizer: by one multiplier, or each in turn


def chosen_numbers(
    known: Sequence[Sequence[str]], described: Sequence[str], wanted: str | None, owner: str
) -> tuple[int, ...]:
    """The numbers of the optimizers that --optimizer names, counted from 0; without it, all.

    Each optimizer is `known` by some names, regardless of case, and by its number from 1.

    Raises:
        UsageError: there is no such optimizer, or there are several of that name.
    """
    if wanted is None or wanted == ALL:
        return tuple(range(len(known)))
    names = [{name.lower() for name in each} for each in known]
    found = [number for number, each in enumerate(names) if wanted.lower() in each]
    if not found and wanted.isdecimal():
        found = [number for number in range(len(known)) if str(number + 1) == wanted]
    if len(found) == 1:
        return (found[0],)
    count = f"{len(found)} optimizers" if found else "no optimizer"
    listed = "; ".join(f"{number}: {each}" for number, each in enumerate(described, 1))
    raise UsageError(f"{owner} has {count} {wanted!r}. It has {listed}.", hint="Give the number, or all.")
