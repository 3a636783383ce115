"""The settings of find-lr."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lrscout.errors import UsageError
from lrscout.results import Use
from lrscout.search import bracket, probing
from lrscout.search.refinement import MIN_STEPS_PER_PROBE, OFFSETS
from lrscout.search.rules import DEFAULT_RULE, RULES
from lrscout.search.scout import HORIZON
from lrscout.settings.fields import option
from lrscout.settings.quantities import seconds
from lrscout.settings.session import SessionSettings

DEFAULT_RANGE = (1e-7, 10.0)


@dataclass(frozen=True, slots=True)
class RefineBudget:
    """What the trainings of --refine may take together: steps, or seconds."""

    steps: int | None = None
    seconds: float = 0.0


def read_refine(text: str) -> RefineBudget:
    """The value of --refine.

    Raises:
        UsageError: it is neither steps nor a time, or too few steps.
    """
    if not text.isdecimal():
        return RefineBudget(seconds=seconds(text, "--refine", "For example 650 (steps), 90s or 5m."))
    steps = int(text)
    if steps < MIN_STEPS_PER_PROBE * len(OFFSETS):
        raise UsageError(
            f"--refine {text} gives each of its {len(OFFSETS)} trainings fewer than {MIN_STEPS_PER_PROBE} steps.",
            hint=f"Shorter trainings made suggestions worse in our measurements: give at least "
            f"{MIN_STEPS_PER_PROBE * len(OFFSETS)}, or leave --refine out.",
        )
    return RefineBudget(steps)


@dataclass(frozen=True, kw_only=True)
class FindLrSettings(SessionSettings):
    """The settings of find-lr."""

    use: Use = option(
        "decay",
        "What the rate is for: the peak of a decaying schedule (cosine, linear, one-cycle, wsd), or a constant rate.",
        flags=("--for",),
    )
    horizon: int | None = option(
        None,
        "Optimizer steps of the real training; a longer one wants a lower rate "
        f"(default {HORIZON}, or what an attached scheduler is made for).",
        at_least=1,
    )
    epochs: float | None = option(None, "The same in epochs of the train_loader.", above=0)
    refine: str | None = option(
        None,
        "Then train at three rates around the suggestion, so many steps in all (600 or more) or so long: 650, 90s, 5m; "
        "and at one or two more where the best of them is the lowest or the highest.",
        metavar="STEPS|TIME",
        number_too=True,
    )
    seeds: int = option(1, "Repeat the search from that many seeds and suggest the median.", at_least=1)
    steps: int = option(bracket.SWEEP_STEPS, "Optimizer steps of the sweeps, for every seed.", at_least=3)
    max_steps: int | None = option(
        None,
        "Optimizer steps in all, for every seed, where short trainings follow because the sweeps cannot know the rate; "
        f"by default {probing.MAX_PROBING_STEPS} more than --steps.",
        at_least=3,
    )
    min_lr: float | None = option(None, "Sweep once, from this rate (1e-7 with --max-lr alone).", above=0)
    max_lr: float | None = option(None, "Sweep once, up to this rate (10 with --min-lr alone).", above=0)
    spacing: Literal["exponential", "linear"] = option("exponential", "How the rate rises from step to step.")
    smoothing: float = option(0.9, "Weight of the past in the smoothed loss, 0 to below 1.", at_least=0, below=1)
    stop_factor: float = option(
        4.0,
        "Stop once the smoothed loss stands this many times its own fall (initial - best) above its best.",
        above=0,
    )
    early_stop: bool = option(True, "Stop where the loss diverges; without, only at a non-finite loss.")
    rule: str = option(DEFAULT_RULE, "The rule that gives the headline.", choices=tuple(RULES))
    val_batches: int = option(
        0, "Sweep the mean loss of this many fixed held-out batches instead of the training loss.", at_least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.range is not None and self.range[0] >= self.range[1]:
            raise UsageError(
                f"--min-lr {self.range[0]:g} is not below --max-lr {self.range[1]:g}.",
                hint="A sweep rises from --min-lr to --max-lr.",
            )
        if self.horizon is not None and self.epochs is not None:
            raise UsageError(
                f"--horizon {self.horizon} and --epochs {self.epochs:g} both tell how long the real training is.",
                hint="Give one of them.",
            )
        if self.max_steps is not None and self.max_steps < self.steps:
            raise UsageError(
                f"--max-steps {self.max_steps} is below --steps {self.steps}, which the sweeps alone take.",
                hint="Lower --steps too, or raise --max-steps; where both are the same, no short training is made.",
            )
        _ = self.refine_budget

    @property
    def refine_budget(self) -> RefineBudget | None:
        """What --refine allows; None without it."""
        return None if self.refine is None else read_refine(self.refine)

    @property
    def most_steps(self) -> int:
        """What sweeps and short trainings may take together, for every seed."""
        return self.max_steps if self.max_steps is not None else self.steps + probing.MAX_PROBING_STEPS

    @property
    def range(self) -> tuple[float, float] | None:
        """The rates of a single sweep, where the settings ask for one; None where the search finds its range itself."""
        free = self.min_lr is None and self.max_lr is None and self.spacing == "exponential"
        if free and self.steps >= bracket.MIN_STEPS_FOR_TWO_SWEEPS:
            return None
        return self.min_lr or DEFAULT_RANGE[0], self.max_lr or DEFAULT_RANGE[1]
