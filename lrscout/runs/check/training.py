"""The checks of a training: whether it learns, how fast it is, and whether it can be repeated."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lrscout.engine.checking.fitting import LEARNED, count_batch_norms
from lrscout.engine.checking.kept_state import kept_state
from lrscout.engine.checking.labels import LEAST_STEPS, compare_labels
from lrscout.engine.checking.precisions import PrecisionFacts, examine_precisions
from lrscout.engine.checking.repeating import first_difference, two_traces
from lrscout.engine.checking.subject import Subject
from lrscout.engine.trials.feed import TooFewSamples
from lrscout.engine.trials.loading import time_step
from lrscout.errors import WorkloadError, summary
from lrscout.formatting import format_loss, format_lr, format_milliseconds
from lrscout.results import LoaderTiming
from lrscout.runs.check.finding import Finding, counted, fail, named, ok, skip, warn
from lrscout.search.workers import examine_loading, is_fed
from lrscout.settings.session import Precision

HARDLY_LEARNED = 0.1  # of the first loss
FORGOTTEN = 0.1  # of what was learned in training mode, and is lost in evaluation mode
SMALL_BATCH = 8  # samples, of which a mean and a variance are noisy
WAITING = 0.2  # of a step, before the loader is said to hold it up
HARDLY_SECONDS = 0.001  # that loading adds to a step: not worth a worker
FASTER = 1.3  # times as fast, before a precision is recommended: less may be chance
ROUNDING = 0.05  # of the loss: more than numbers of half precision explain


ONCE = "the train_loader is an iterator, which can be read only once: a DataLoader or a list of batches is better"


def check_overfit(subject: Subject) -> Iterator[Finding]:
    """Whether the model can learn one small batch by heart."""
    best, *others = subject.fits
    is_highest = best.fell < LEARNED and best.lr > max((fit.lr for fit in others), default=math.inf)
    which = f", the best{' and the highest' if is_highest else ''} of {len(others) + 1} rates" if others else ""
    told = (
        f"{format_loss(best.first)} -> {format_loss(best.last)} in {counted(best.steps, 'step')} on one batch"
        f" (lr {format_lr(best.lr)}{which})"
    )
    too_low = (
        f"The highest rate that was tried learned the most, so the target's own {format_lr(subject.own_lr)} may be far"
        " too low: see `lrscout find-lr`. "
        if is_highest
        else ""
    )
    if best.fell >= LEARNED:
        yield ok(told)
    elif best.fell >= HARDLY_LEARNED:
        yield warn(
            told,
            f"{too_low}A model that is large enough learns one batch by heart. One reason why it does not is a loss"
            " that cannot come near 0 (label smoothing, soft labels, a softmax too many), another too small a model."
            " --steps gives it longer.",
        )
    elif not best.fell >= 0:
        yield fail(told, "It diverges at every rate that was tried: `lrscout find-lr` finds one where it does not.")
    else:
        yield fail(
            told,
            f"{too_low}It does not learn even one batch: see that the loss depends on the inputs and on the labels,"
            " that the model's output is not rounded, cut or detached, and that the inputs are scaled.",
        )


def check_eval_mode(subject: Subject) -> Iterator[Finding]:
    """Whether the model still knows in evaluation mode what it learned in training mode."""
    fit, size = subject.fits[0], subject.batch_size
    norms = count_batch_norms(subject.workload.model)
    if norms and size is not None and size < SMALL_BATCH:
        yield warn(
            f"{counted(norms, 'batch norm')} with batches of {counted(size, 'sample')}, too few for their means and"
            " variances",
            "Use larger batches, or a norm that does not depend on the batch (GroupNorm, LayerNorm).",
        )
    if isinstance(fit.modes, Exception):
        if subject.workload.step is None:
            raise fit.modes
        yield skip(f"the target's step cannot be evaluated ({summary(fit.modes)})")
        return
    training, evaluation = fit.modes
    told = f"{format_loss(training)} in training mode, {format_loss(evaluation)} in evaluation mode"
    if not math.isfinite(training):
        yield skip("the loss was not finite after the steps on one batch")
        return
    learned = max(abs(fit.first - training), ROUNDING * abs(fit.first))
    if not evaluation - training <= FORGOTTEN * learned:
        yield warn(
            f"{told}, from {format_loss(fit.first)} before training",
            "The two modes are two models: look for a batch norm whose momentum is too low or whose batches are too"
            " small, and for code that asks self.training.",
        )
    else:
        yield ok(f"{told}, on the batch that was learned")


def check_labels(subject: Subject) -> Iterator[Finding]:
    """Whether labels can be told from inputs better than the labels of other samples."""
    if subject.reads_once:
        yield skip(ONCE)
        return
    found = compare_labels(subject)
    if found is None:
        yield skip("only made where a batch is (inputs, labels) with one label for each sample")
        return
    if found.steps < LEAST_STEPS:
        yield skip(f"the train_loader has only {counted(found.steps, 'batch', 'batches')} before samples come again")
        return
    told = (
        f"{format_loss(found.own)} at the end of {found.steps} steps on new batches, and {format_loss(found.others)}"
        " where every sample has the label of another one"
    )
    if found.tells:
        yield ok(told)
    else:
        yield warn(
            told,
            "What it learns of the labels does not come from the inputs. Are they of the same samples, in the same"
            " order? Or the task is so hard that it takes longer to begin.",
        )


def check_loader(subject: Subject) -> Iterator[Finding]:
    """Whether the loader keeps up with the step."""
    if subject.reads_once:
        yield skip(ONCE)
        return
    loading = examine_loading(_Timer(subject))
    if loading.interrupted:
        raise KeyboardInterrupt
    own, without = loading.own, loading.seconds_without
    if own is None or without is None:
        yield skip(loading.problem or "it could not be timed")
        return
    took, left = format_milliseconds(own.seconds_per_step), format_milliseconds(without)
    # two signs of it, since the times of a busy machine vary
    waits = own.loader_share > WAITING and own.seconds_per_step - without > HARDLY_SECONDS
    if is_fed(own, without) or not waits:
        verdict = "the loader keeps up" if is_fed(own, without) else "too little to matter"
        yield ok(f"a step takes {took} ms, and {left} ms without loading: {verdict}")
        return
    hint = "`lrscout find-batch-size --workers auto` finds the num_workers that feeds the step"
    if own.workers is None:
        hint = "It is no DataLoader, whose num_workers could load batches while the step runs"
    yield warn(
        f"a step takes {took} ms, and {left} ms without loading: the loader holds the training up",
        f"{hint}; else make loading cheaper (samples decoded once and stored, fewer transforms).",
    )


class _Timer:
    """Times a step of the target."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def with_workers(self, workers: int | None) -> LoaderTiming:
        return self._time(loads=True)

    def without_loader(self) -> float:
        return self._time(loads=False).seconds_per_step

    def _time(self, loads: bool) -> LoaderTiming:
        subject = self._subject
        subject.tick("with loading" if loads else "without loading")
        try:  # any batch will do, so batches of one sample are asked for
            with kept_state(subject.workload):
                return time_step(subject.workload, subject.settings, 1, None, loads=loads, preserve=True)
        except TooFewSamples as error:
            raise WorkloadError(str(error)) from None


def check_precision(subject: Subject) -> Iterator[Finding]:
    """bf16 and fp16 beside fp32, in loss and in speed."""
    facts = examine_precisions(subject)
    full = facts["fp32"]
    if isinstance(full, str):
        yield skip(f"fp32 {full}")
        return
    yield ok(f"a loss of {_told(full)} in fp32")
    for precision in ("bf16", "fp16"):
        yield from _beside_full(precision, facts[precision], full, subject.whole.precision)


def _beside_full(
    name: Precision, facts: PrecisionFacts | str, full: PrecisionFacts, used: Precision
) -> Iterator[Finding]:
    if isinstance(facts, str):
        yield warn(f"{name} {facts}") if used == name else ok(f"{name} {facts}")
        return
    told = f"{_told(facts)} in {name}"
    if not math.isfinite(facts.loss) and math.isfinite(full.loss):
        yield warn(f"{told}: not finite", _instead(name))
    elif not facts.finite_gradients and full.finite_gradients:
        yield warn(f"{told}: gradients are not finite", _instead(name))
    elif abs(facts.loss - full.loss) > ROUNDING * max(abs(full.loss), 1e-6):
        yield warn(f"{told}: another loss than in fp32", f"Keep what is sensitive out of {name}, or train in fp32.")
    else:
        faster = full.seconds / facts.seconds
        advice = (
            f"--precision {name} trains {faster:.1f} times as fast." if faster > FASTER and used == "fp32" else None
        )
        yield ok(told, advice if name == "bf16" else None)


def _told(facts: PrecisionFacts) -> str:
    return f"{format_loss(facts.loss)} at {format_milliseconds(facts.seconds)} ms a step"


def _instead(name: Precision) -> str:
    if name == "bf16":
        return "Train in fp32, or keep the part that overflows in it."
    return "Its largest number is 65504: use bf16, or a GradScaler where only gradients overflow (--precision fp16)."


def check_determinism(subject: Subject) -> Iterator[Finding]:
    """Whether two runs with the same seed are the same, bit for bit."""
    traces = two_traces(subject)
    if traces is None:
        yield skip(ONCE)
        return
    one, other = traces
    changed = [name for name, digest in one.weights.items() if other.weights.get(name) != digest]
    batch = first_difference(one.batches, other.batches)
    loss = first_difference(one.losses, other.losses)
    if changed:
        yield warn(
            f"two builds with seed {subject.settings.seed} have other weights: {named(changed)}",
            "Draw them from torch's own generator, which lrscout seeds before it builds, not from one of your own.",
        )
    if batch is not None:
        yield warn(
            f"two builds with seed {subject.settings.seed} have other data, from batch {batch + 1} on",
            "Seed every generator that data, transforms and samplers draw from, or use those of torch, NumPy and"
            " random, which lrscout seeds.",
        )
    if changed or batch is not None:
        return
    if loss is None:
        yield ok(f"two runs with seed {subject.settings.seed} are the same bit for bit over {len(one.losses)} steps")
        return
    yield warn(
        f"the same weights and batches, and other losses from step {loss + 1} on:"
        f" {one.losses[loss]:.9g} and {other.losses[loss]:.9g}",
        "Look for a generator of your own in the model or in the step; --deterministic chooses algorithms that can be"
        " repeated, at the expense of speed.",
    )
