"""Warnings about how far the result of a comparison can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lrscout.results import CommandTarget, ComparedRun, Target, TargetOnRanks
from lrscout.schedules import ScheduleSpec
from lrscout.search.comparison import PlannedRun, began_alike, starts_alike, weights_alike
from lrscout.settings import CompareSchedulersSettings


def warnings_about(
    runs: Mapping[PlannedRun, ComparedRun],
    specs: Sequence[ScheduleSpec],
    settings: CompareSchedulersSettings,
    seeds: int,
    peaks: Sequence[float],
    target: Target | CommandTarget,
) -> list[str]:
    """The warnings; each schedule was scored with `seeds` seeds at its rate in `peaks`."""
    tuned = settings.lr_mode == "tune"
    found = []
    if not tuned:
        found.append("All schedules ran at one rate; each may have a better rate of its own (--lr-mode tune).")
    if seeds < 3:
        found.append(f"Too few runs: with {seeds} seeds, a difference cannot be told from chance. Raise --seeds.")
    if not began_alike(runs.values()):
        found.append(
            "Runs of the same seed began with different weights or batches, so they are not paired and small"
            f" differences stay hidden. {_how_to_pair(target)}"
        )
    elif starts_alike(runs.values()):
        found.append(
            "Every seed began with the same weights and the same batches, so the intervals cover only what else is"
            " random, such as dropout. Let the loader shuffle, without a generator or a seed of its own."
        )
    elif weights_alike(runs.values()):
        found.append(
            "Every seed began with the same weights, so the intervals cover the order of the data only, not the"
            f" initialization. {_how_to_draw_weights(target)}"
        )
    aucs = {run.auc for run in runs.values()}
    if tuned and len(aucs) == 1 and None not in aucs:
        found.append(
            "The loss is the same under every schedule and at every rate: it may not depend on what the optimizer"
            " trains."
        )
    elif tuned:
        found += _about_rates(runs, specs, settings.seed, peaks)
    found += [
        f"A run of {run.label} failed (seed {run.seed}): {run.error}."
        for run in runs.values()
        if run.status == "failed"
    ]
    return found


def _how_to_pair(target: Target | CommandTarget) -> str:
    if isinstance(target, Target | TargetOnRanks):
        return "Let build() draw random numbers from Python, NumPy or torch only."
    if target.takes("seed"):
        return "The command draws random numbers that {seed} does not determine."
    return "Put {seed} where the command takes its seed, for example --seed {seed}."


def _how_to_draw_weights(target: Target | CommandTarget) -> str:
    target = target.target if isinstance(target, TargetOnRanks) else target
    if isinstance(target, CommandTarget):
        return "Unless they are pretrained, seed the command before it makes its model."
    where = "in the function that is the target" if target.path is not None else "in a function, and pass that"
    return f"Unless they are pretrained, make the model {where}: one that is made once is made before any seed is set."


def _about_rates(
    runs: Mapping[PlannedRun, ComparedRun], specs: Sequence[ScheduleSpec], seed: int, peaks: Sequence[float]
) -> Iterator[str]:
    for spec, lr in zip(specs, peaks):
        tried = {  # with the first seed, which tries every rate
            plan.peak_lr: run
            for plan, run in runs.items()
            if plan.role == "tune" and plan.seed == seed and run.label == spec.label
        }
        if len({run.auc for run in tried.values()}) == 1 and tried[lr].auc is not None:
            yield f"{spec.label} trains the same at every peak rate: it seems to set its own rates."
        elif lr in (min(tried), max(tried)):
            yield f"The best rate of {spec.label} is the lowest or highest one tried; try another --lr."
