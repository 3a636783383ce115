"""Weights averaged over the end of a run: what follows a schedule as `+swa[:start=0.75]`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from lrscout.errors import UsageError
from lrscout.schedules.parameters import Range, parameters_of, steps_of
from lrscout.schedules.text import pairs_in

if TYPE_CHECKING:
    from lrscout.schedules.spec import ScheduleSpec

SUFFIX = "+swa"
_AVERAGED = re.compile(r"(.*?)\+\s*swa\s*(?::(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Averaging:
    """Stochastic weight averaging: the mean of the weights after every step from `start` on is evaluated.

    Source: Izmailov et al. (2018), https://arxiv.org/abs/1803.05407.
    """

    start: Annotated[float, Range(0, 0.9)] = 0.75  # a share of the run; its last 20th is what is compared

    def first_step(self, total: int) -> int:
        """The first step after which the weights count, from 0."""
        return steps_of(self.start, total)

    def as_dict(self) -> dict[str, Any]:
        """The parameters."""
        return asdict(self)


def split_averaging(text: str) -> tuple[str, Averaging | None]:
    """The text of a schedule without its suffix, and what the suffix says, if there is one.

    Raises:
        UsageError: a parameter of the suffix is unknown or invalid.
    """
    match = _AVERAGED.fullmatch(text)
    if match is None:
        return text, None
    return match[1], _averaging(pairs_in(match[2], text) if match[2] is not None else {})


def _averaging(given: Mapping[str, Any]) -> Averaging:
    known = parameters_of(Averaging)
    for key in given:
        if key not in known:
            raise UsageError(
                f"{SUFFIX} has no parameter {key!r}.",
                hint=f"It has {', '.join(known)}. Those of the schedule go before it: cosine:warmup=0.05{SUFFIX}.",
            )
    try:
        return Averaging(**{key: known[key].check(value) for key, value in given.items()})
    except UsageError as error:
        raise UsageError(f"{SUFFIX}: {error.message}", hint=error.hint) from None


def check_without_averaging(specs: Iterable[ScheduleSpec], on_ranks: bool = False) -> None:
    """See that no schedule averages weights, for a program or a target that has them in processes of its own.

    Raises:
        UsageError: one does.
    """
    for spec in specs:
        if spec.averaging is None:
            continue
        if on_ranks:
            raise UsageError(
                f"{spec.label} is for targets in one process.", hint=f"Leave out --nproc, or use {spec.rates}."
            )
        raise UsageError(
            f"{spec.label} is for targets alone, in one process: a program averages its weights itself.",
            hint=f"Use {spec.rates}, and torch.optim.swa_utils.AveragedModel in the program.",
        )
