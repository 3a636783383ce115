"""The settings of compare-schedulers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lrscout.errors import UsageError
from lrscout.schedules import DEFAULT_SCHEDULES, parse_schedule, parse_schedules, schedule_among
from lrscout.settings.fields import option
from lrscout.settings.quantities import seconds
from lrscout.settings.session import SessionSettings


@dataclass(frozen=True, kw_only=True)
class CompareSchedulersSettings(SessionSettings):
    """The settings of compare-schedulers."""

    schedules: Sequence[str | Mapping[str, Any]] = option(
        DEFAULT_SCHEDULES,
        f"A schedule to compare, as in one-cycle:pct_start=0.2; repeatable. By default {', '.join(DEFAULT_SCHEDULES)}.",
        flags=("--schedule", "-s"),
        metavar="NAME[:KEY=VALUE,...]",
        item=parse_schedule,
    )
    steps: int = option(300, "Optimizer steps of every run.", at_least=10)
    seeds: int = option(5, "Scored runs of every schedule, each with a seed of its own.", at_least=1)
    lr_mode: Literal["tune", "shared", "fixed"] = option(
        "tune",
        "tune: for each schedule the rate nearest to --lr that is as good as the best of x1/3, x1 and x3; shared: --lr"
        " for all; fixed: the rate that the optimizer has.",
    )
    lr: float | None = option(None, "The peak rate to begin with; without, find-lr's sweep suggests one.", above=0)
    baseline: str | None = option(
        None, "The schedule to take the differences from; the best when not given.", metavar="NAME"
    )
    min_effect: float = option(0.0, "A difference up to this is a tie, however certain it is.", at_least=0)
    evaluations: int = option(5, "Evaluations in the last 5 % of a run; their mean is compared.", at_least=1)
    eval_every: int | None = option(
        None,
        "Steps between the evaluations of a schedule that goes by them (plateau); a twentieth of the run if not given.",
        at_least=1,
    )
    metric_fn: str | None = option(
        None, "Compare by pkg.mod:fn(model, batch) on held-out batches instead of the loss.", metavar="PATH"
    )
    metric_mode: Literal["min", "max"] = option("min", "Whether less or more of --metric-fn is better.")
    time_budget: str | None = option(
        None, "Fit seeds and steps to this time, as in 90s, 10m or 1h.", metavar="TIME", number_too=True
    )
    jobs: str = option("1", "Runs at the same time, each in a process of its own.", metavar="N|auto", number_too=True)
    threads: int | None = option(
        None,
        "CPU threads of a run; 1 on the CPU, where the last digits depend on it, else the cores divided by --jobs.",
        at_least=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        specs = parse_schedules(self.schedules)
        if len(specs) < 2:
            raise UsageError(
                f"There is nothing to compare: {len(specs)} schedule.", hint="Give at least two: -s cosine -s wsd."
            )
        if self.baseline is not None:
            schedule_among(self.baseline, specs)
        if self.lr_mode == "fixed" and self.lr is not None:
            raise UsageError(
                "--lr-mode fixed takes the optimizer's own rate, so --lr cannot be given.", hint="Use --lr-mode shared."
            )
        if self.metric_mode == "max" and self.metric_fn is None:
            raise UsageError("--metric-mode max needs a --metric-fn: of a loss, less is better.")
        if self.jobs != "auto" and not re.fullmatch("[1-9][0-9]{0,3}", self.jobs):
            raise UsageError(f"--jobs {self.jobs} is neither a number from 1 nor auto.")
        _ = self.time_budget_seconds

    @property
    def time_budget_seconds(self) -> float | None:
        """The time budget in seconds."""
        if self.time_budget is None:
            return None
        return seconds(self.time_budget, "--time-budget", "For example 90s, 10m or 1h.")
