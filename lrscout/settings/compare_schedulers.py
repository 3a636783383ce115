"""The settings of compare-schedulers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lrscout.errors import UsageError
from lrscout.schedules import (
    DEFAULT_SCHEDULES,
    check_without_averaging,
    parse_schedule,
    parse_schedules,
    schedule_among,
)
from lrscout.settings.engine import JobsSettings
from lrscout.settings.fields import LARGEST_RATE, Kind, option
from lrscout.settings.quantities import seconds
from lrscout.settings.ranks import RanksSettings


@dataclass(frozen=True, kw_only=True)
class CompareSchedulersSettings(JobsSettings, RanksSettings):
    """The settings of compare-schedulers."""

    GROUP = "Comparison"

    schedules: Sequence[str | Mapping[str, Any]] = option(
        DEFAULT_SCHEDULES,
        "Schedule to compare, for example one-cycle:pct_start=0.2; repeatable. By default"
        f" {', '.join(DEFAULT_SCHEDULES)}.",
        flags=("--schedule", "-s"),
        metavar="NAME[:KEY=VALUE,...][+swa]",
        item=parse_schedule,
    )
    steps: int = option(300, "Optimizer steps per run.", at_least=10)
    seeds: int = option(5, "Scored runs per schedule, each with its own seed.", at_least=1)
    lr_mode: Literal["tune", "shared", "fixed"] = option(
        "tune",
        "tune: find the rate of each schedule, starting from --lr; shared: use --lr for all; fixed: use the"
        " optimizer's own rate.",
    )
    lr: float | None = option(
        None, "Peak rate to start from; by default the suggestion of find-lr.", above=0, below=LARGEST_RATE
    )
    baseline: str | None = option(
        None, "Schedule that the others are compared with; by default the best.", metavar="NAME"
    )
    min_effect: float = option(0.0, "Smallest difference that matters: up to it, schedules tie.", at_least=0)
    evaluations: int = option(
        5,
        "Evaluations in the last 5% of a run; their mean is what is compared.",
        at_least=1,
        only="target",
        ranks_too=True,
    )
    eval_every: int | None = option(
        None,
        "Steps between evaluations for a schedule that depends on them (plateau); by default a twentieth of the run.",
        at_least=1,
    )
    metric_fn: str | None = option(
        None,
        "Compare by pkg.mod:fn(model, batch) on held-out batches instead of by the loss.",
        metavar="PATH",
        only="target",
        instead="What the program prints can be compared: --metric-regex 'val loss ([0-9.e+-]+)'.",
    )
    metric_regex: str | None = option(
        None,
        "Compare by the last number that a training command prints, instead of by its training loss: a regular"
        " expression with one group, for example 'val loss ([0-9.e+-]+)'.",
        metavar="PATTERN",
        only="command",
    )
    metric_mode: Literal["min", "max"] = option(
        "min", "Whether a lower or a higher --metric-fn or --metric-regex is better."
    )
    time_budget: str | None = option(
        None, "Reduce seeds and steps to fit this time: 90s, 10m, 1h.", metavar="TIME", number_too=True
    )
    threads: int | None = option(
        None,
        "CPU threads per run; by default 1 on the CPU, since the last digits depend on it, else the cores divided by"
        " --jobs. A training command gets it as OMP_NUM_THREADS.",
        at_least=1,
        at_most=1024,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        specs = parse_schedules(self.schedules)
        if len(specs) < 2:
            raise UsageError(
                f"A comparison needs at least two schedules, got {len(specs)}.", hint="For example -s cosine -s wsd."
            )
        if self.baseline is not None:
            schedule_among(self.baseline, specs)
        if self.lr_mode == "fixed" and self.lr is not None:
            raise UsageError(
                "--lr-mode fixed uses the optimizer's own rate, so --lr cannot be given.", hint="Use --lr-mode shared."
            )
        if self.metric_mode == "max" and self.metric_fn is None and self.metric_regex is None:
            raise UsageError("--metric-mode max needs a --metric-fn or a --metric-regex: a lower loss is better.")
        _ = self.metric_pattern
        _ = self.time_budget_seconds

    def check_for(self, kind: Kind) -> None:
        """See that weights are averaged only where they are at hand."""
        if kind != "target":
            check_without_averaging(parse_schedules(self.schedules), on_ranks=kind == "ranks")

    @property
    def metric_pattern(self) -> re.Pattern[str] | None:
        """The pattern of --metric-regex.

        Raises:
            UsageError: it is no regular expression, or has not exactly one group.
        """
        if self.metric_regex is None:
            return None
        hint = "Put the number in parentheses: 'val loss ([0-9.e+-]+)'. Parentheses that only group are (?:...)."
        try:
            pattern = re.compile(self.metric_regex)
        except re.error as error:
            raise UsageError(f"--metric-regex {self.metric_regex!r} cannot be read: {error}.", hint=hint) from None
        if pattern.groups != 1:
            raise UsageError(
                f"--metric-regex {self.metric_regex!r} must have exactly one group, not {pattern.groups}.",
                hint=hint,
            )
        return pattern

    @property
    def time_budget_seconds(self) -> float | None:
        """The time budget in seconds."""
        if self.time_budget is None:
            return None
        return seconds(self.time_budget, "--time-budget", "For example 90s, 10m or 1h.")
