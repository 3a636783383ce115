"""The settings of check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrscout.settings.fields import option
from lrscout.settings.session import SessionSettings


@dataclass(frozen=True, kw_only=True)
class CheckSettings(SessionSettings):
    """The settings of check."""

    GROUP = "Checks"

    skip: Sequence[str] = option(
        (), "A check to leave out, by its name in the table; repeatable.", flags=("--skip",), metavar="CHECK"
    )
    samples: int = option(32, "Samples that the model is to learn by heart, at most.", at_least=1)
    steps: int = option(100, "Optimizer steps that it may take for that, at each of a few rates.", at_least=10)
