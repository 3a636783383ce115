"""A fair comparison of schedules: which runs it takes, how each run scores, and how the schedules rank."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lrscout.results import (
    ComparedRun,
    Difference,
    FinalMetric,
    Metric,
    RankedSchedule,
    RateRange,
    Role,
    RunStatus,
    TrainingPoint,
    TrainingResult,
    Verdict,
)
from lrscout.schedules import ScheduleSpec
from lrscout.search.paired import SIGNIFICANT, Estimate, difference_of, holm, mean_of
from lrscout.search.training import final_steps

MIN_SEEDS = 3  # with fewer, intervals are too wide to be useful
KEPT_POINTS = 50  # per run, in the record
LARGEST_FINAL = 1e100  # treat runs beyond it as diverged, since sums of squares overflow


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A training run to do."""

    schedule: int  # its index among the schedules
    seed: int
    peak_lr: float
    role: Role


def scored(
    plan: PlannedRun,
    spec: ScheduleSpec,
    result: TrainingResult,
    metric: Metric,
    fingerprint: str,
    printed: Sequence[float] | None = None,
) -> ComparedRun:
    """The scores of a training run; `printed` are the values of a metric that the program prints, if that counts."""
    final = best = auc = None
    assert result.status != "given_up"  # only the probes of find-lr ever are
    status: RunStatus = result.status
    if status == "ok":
        losses = [point.loss for point in result.points]
        window = len(final_steps(len(losses)))
        means = [fmean(losses[max(0, end - window) : end]) for end in range(len(losses), 0, -window)]
        values, last = means, means[:1]
        if printed is not None:
            values, last = list(printed), list(printed[-1:])
        elif metric.held_out:
            values = [p.val_loss for p in result.points if p.val_loss is not None]
            last = [p.val_loss for p in result.points[-window:] if p.val_loss is not None]
        final, auc = fmean(last), fmean(losses)
        best = max(values) if metric.mode == "max" else min(values)
        if not abs(final) <= LARGEST_FINAL:
            status, final, best, auc = "diverged", None, None, None
    return ComparedRun(
        spec.kind,
        spec.label,
        plan.seed,
        plan.peak_lr,
        plan.role,
        status,
        final,
        best,
        auc,
        thinned(result.points),
        result.seconds,
        fingerprint,
    )


def failed(plan: PlannedRun, spec: ScheduleSpec, error: str) -> ComparedRun:
    """The result of a run whose process died."""
    run = (plan.seed, plan.peak_lr, plan.role)
    return ComparedRun(spec.kind, spec.label, *run, "failed", None, None, None, (), 0.0, error=error)


def thinned(points: Sequence[TrainingPoint], most: int = KEPT_POINTS) -> tuple[TrainingPoint, ...]:
    """Reduce a run to `most` points: the last of each stretch of steps, with its mean loss and last evaluation."""
    size = max(1, -(-len(points) // most))
    kept = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        evaluated = [p.val_loss for p in part if p.val_loss is not None]
        loss = sum(p.loss for p in part) / len(part)  # fmean raises if the sum overflows
        kept.append(TrainingPoint(part[-1].step, part[-1].lr, loss, evaluated[-1] if evaluated else None))
    return tuple(kept)


def began_alike(runs: Iterable[ComparedRun]) -> bool:
    """Whether all runs with the same seed had the same initial weights and first batches."""
    seen: dict[int, str] = {}
    return all(
        seen.setdefault(run.seed, run.fingerprint) == run.fingerprint for run in runs if run.fingerprint is not None
    )


def weights_alike(runs: Iterable[ComparedRun]) -> bool:
    """Whether runs of several seeds all had the same initial weights."""
    runs = [run for run in runs if run.fingerprint is not None]
    weights = {str(run.fingerprint).partition(" ")[0] for run in runs}
    return len(weights) == 1 and len({run.seed for run in runs}) > 1


def starts_alike(runs: Iterable[ComparedRun]) -> bool:
    """Whether runs of several seeds all had the same initial weights and first batches."""
    runs = [run for run in runs if run.fingerprint is not None]
    return len({run.fingerprint for run in runs}) == 1 and len({run.seed for run in runs}) > 1


def rank(
    specs: Sequence[ScheduleSpec],
    peaks: Sequence[float],
    runs: Sequence[ComparedRun],
    mode: str,
    *,
    baseline: str | None = None,
    min_effect: float = 0.0,
    ranges: Mapping[str, RateRange | None] | None = None,
) -> tuple[tuple[RankedSchedule, ...], str | None]:
    """Rank the schedules, each with its difference from the baseline, and return the baseline's label, too.

    The baseline defaults to the schedule that ranks first. `ranges` holds, by label, the rates that tuning could not
    tell apart. A schedule with diverged runs ranks below those without, since its mean omits its worst runs.
    """
    sign = -1.0 if mode == "max" else 1.0
    tuned = ranges or {}
    entrants = [
        _Entrant(spec, lr, tuned.get(spec.label), [run for run in runs if run.label == spec.label])
        for spec, lr in zip(specs, peaks)
    ]
    entrants.sort(key=lambda e: e.order(sign))
    reference = next((e for e in entrants if e.spec.label == baseline), entrants[0])
    if not reference.finals:
        return tuple(e.ranked(None, None, e.outcome or "descriptive") for e in entrants), None
    paired = began_alike(runs)
    found = {e.spec.label: difference_of(e.finals, reference.finals, paired) for e in entrants if e is not reference}
    tested = [label for label, estimate in found.items() if estimate is not None and estimate.n >= MIN_SEEDS]
    adjusted = dict(zip(tested, holm([found[label].p or 0.0 for label in tested])))  # type: ignore[union-attr]
    verdicts = {
        label: _verdict(sign * found[label].mean, adjusted[label], min_effect)  # type: ignore[union-attr]
        for label in tested
    }
    ranked = []
    for entrant in entrants:
        label = entrant.spec.label
        if entrant is reference:
            verdict = "baseline" if baseline is not None else _of_first(entrants, verdicts)
        else:
            verdict = verdicts.get(label, "descriptive")
            verdict = "tie" if verdict == "better" and baseline is None else verdict
        ranked.append(entrant.ranked(found.get(label), adjusted.get(label), entrant.outcome or verdict))
    return tuple(ranked), reference.spec.label


def _verdict(worse_by: float, p: float, min_effect: float) -> Verdict:
    if p >= SIGNIFICANT or abs(worse_by) <= min_effect:
        return "tie"
    return "worse" if worse_by > 0 else "better"


def _of_first(entrants: Sequence[_Entrant], verdicts: Mapping[str, Verdict]) -> Verdict:
    """The verdict on the schedule that ranks first: best if it beats all others that have enough seeds to judge."""
    others = [verdicts.get(e.spec.label, "descriptive") for e in entrants[1:] if e.outcome is None]
    judged = [verdict for verdict in others if verdict != "descriptive"]
    if len(entrants[0].finals) < MIN_SEEDS or (others and not judged):
        return "descriptive"
    return "best" if all(verdict == "worse" for verdict in judged) else "tie"


class _Entrant:
    """A schedule with its scoring runs."""

    def __init__(self, spec: ScheduleSpec, lr: float, tuned: RateRange | None, runs: Sequence[ComparedRun]) -> None:
        scores = [run for run in runs if run.role == "score"]
        self.spec, self._lr, self._tuned = spec, lr, tuned
        self.finals = {run.seed: run.final for run in scores if run.final is not None}
        self._diverged = sum(run.status in ("diverged", "non_finite") for run in scores)
        self.outcome: Verdict | None = "diverged" if self._diverged else None
        if not self._diverged and scores and not self.finals:
            self.outcome = "failed"

    def order(self, sign: float) -> tuple[bool, int, float]:
        """The sort key: smaller ranks higher."""
        mean = sign * fmean(self.finals.values()) if self.finals else math.inf
        return not self.finals, self._diverged, mean

    def ranked(self, found: Estimate | None, p: float | None, verdict: Verdict) -> RankedSchedule:
        final = difference = None
        if self.finals:
            mean = mean_of(list(self.finals.values()))
            final = FinalMetric(mean.mean, *_limits(mean), mean.n)
        if found is not None:
            difference = Difference(found.mean, *_limits(found), p)
        spec = self.spec
        params = {key: list(value) if isinstance(value, tuple) else value for key, value in spec.params.items()}
        params |= {"swa": spec.averaging.as_dict()} if spec.averaging is not None else {}
        found_so = (final, difference, verdict, self._diverged, self._tuned)
        return RankedSchedule(spec.kind, spec.label, params, self._lr, *found_so)


def _limits(found: Estimate) -> tuple[float | None, float | None]:
    if found.half_width is None or found.n < MIN_SEEDS:
        return None, None
    return found.mean - found.half_width, found.mean + found.half_width
