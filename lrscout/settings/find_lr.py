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
from lrscout.settings.engine import JobsSettings
from lrscout.settings.fields import LARGEST_RATE, option
from lrscout.settings.quantities import LONGEST, seconds
from lrscout.settings.ranks import RanksSettings

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
    if not text.isdecimal() or len(text) > LONGEST:
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
class FindLrSettings(JobsSettings, RanksSettings):
    """The settings of find-lr."""

    GROUP = "Sweep"

    use: Use = option(
        "decay",
        "What the rate is for: the peak of a decaying schedule (cosine, linear, one-cycle, wsd) or a constant rate.",
        flags=("--for",),
    )
    horizon: int | None = option(
        None,
        "Optimizer steps of the real training, since longer ones need a lower rate; by default the length of the"
        f" attached scheduler, or {HORIZON}.",
        at_least=1,
    )
    epochs: float | None = option(
        None,
        "Length of the real training in epochs, instead of --horizon.",
        above=0,
        below=1e9,
        only="target",
        ranks_too=True,
        instead="How long an epoch of a command is cannot be told from outside; give its steps: --horizon N.",
    )
    refine: str | None = option(
        None,
        "Refine the suggestion by training at three rates around it, and at one or two more if the best is the lowest"
        " or the highest. The value is the total number of steps (at least 600) or a time: 650, 90s, 5m.",
        metavar="STEPS|TIME",
        number_too=True,
    )
    seeds: int = option(1, "Repeat the search with this many seeds and suggest the median.", at_least=1)
    steps: int = option(bracket.SWEEP_STEPS, "Optimizer steps of the sweeps, per seed.", at_least=3, at_most=1_000_000)
    max_steps: int | None = option(
        None,
        "Maximum number of optimizer steps per seed. Short trainings follow the sweeps if these alone cannot tell the"
        f" rate; by default they may take {probing.MAX_PROBING_STEPS} more than --steps.",
        at_least=3,
    )
    min_lr: float | None = option(
        None, "Run a single sweep from this rate; 1e-7 if only --max-lr is given.", above=0, below=LARGEST_RATE
    )
    max_lr: float | None = option(
        None, "Run a single sweep up to this rate; 10 if only --min-lr is given.", above=0, below=LARGEST_RATE
    )
    spacing: Literal["exponential", "linear"] = option("exponential", "How the rate rises from step to step.")
    smoothing: float = option(0.9, "Weight of the past in the smoothed loss, from 0 to below 1.", at_least=0, below=1)
    stop_factor: float = option(
        4.0,
        "Stop once the smoothed loss exceeds its best by this many times (initial - best).",
        above=0,
    )
    early_stop: bool = option(True, "Stop when the loss diverges, not only when it is no longer finite.")
    rule: str = option(DEFAULT_RULE, "Rule that makes the suggestion.", choices=tuple(RULES))
    val_batches: int = option(
        0,
        "Record the mean loss of this many fixed held-out batches instead of the training loss. --refine evaluates as"
        " many if the val_loader has no length.",
        at_least=0,
        only="target",
    )
    restart: bool = option(
        False,
        "Start a training command, or the ranks of --nproc, anew for every sweep and training, if they have state that"
        " lrscout cannot put back.",
        only="command",
        ranks_too=True,
        instead="For example: -- python train.py, or --nproc 2.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.range is not None and self.range[0] >= self.range[1]:
            raise UsageError(
                f"--min-lr {self.range[0]:g} must be below --max-lr {self.range[1]:g}.",
                hint="A sweep goes from --min-lr up to --max-lr.",
            )
        if self.horizon is not None and self.epochs is not None:
            raise UsageError(
                f"--horizon {self.horizon} and --epochs {self.epochs:g} both set the length of the real training.",
                hint="Give one of them.",
            )
        if self.max_steps is not None and self.max_steps < self.steps:
            raise UsageError(
                f"--max-steps {self.max_steps} is less than the {self.steps} --steps of the sweeps alone.",
                hint="Lower --steps or raise --max-steps. If they are equal, no short trainings follow the sweeps.",
            )
        _ = self.refine_budget

    @property
    def refine_budget(self) -> RefineBudget | None:
        """What --refine allows; None without it."""
        return None if self.refine is None else read_refine(self.refine)

    @property
    def independent_trainings(self) -> int:
        """How many trainings, at most, need not wait for each other."""
        return max(self.seeds, 1 if self.refine is None else len(OFFSETS))

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
