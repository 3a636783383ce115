"""The checks of the batch, of the model and of its loss."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lrscout.engine.batches import tensors_in
from lrscout.engine.checking.fields import without_numbers
from lrscout.engine.checking.gradients import examine_gradients
from lrscout.engine.checking.guessing import Guess, initial_loss
from lrscout.engine.checking.parameters import take_census
from lrscout.engine.checking.subject import Subject
from lrscout.formatting import format_bytes, format_loss
from lrscout.runs.check.finding import Finding, counted, fail, named, ok, skip, warn

CONFIDENT = 1.5  # times the loss of a uniform guess: so much more is only lost by wrong convictions
MISTAKES = {
    "probabilities": (
        "fail",
        "the input of {function} is probabilities already: every row sums to 1",
        "Leave out the softmax: cross_entropy applies it itself, and nll_loss needs its logarithm (log_softmax).",
    ),
    "scores": (
        "fail",
        "the input of {function} is not log-probabilities",
        "Use cross_entropy, or apply log_softmax to the model's output.",
    ),
    "sigmoid": (
        "warn",
        "all inputs of {function} lie from 0 to 1, as after a sigmoid",
        "Leave out the sigmoid: binary_cross_entropy_with_logits applies it itself.",
    ),
    "one class": (
        "fail",
        "{function} has one class to choose from, so the loss is always 0",
        "Give the model an output for each class, or use binary_cross_entropy_with_logits.",
    ),
}


def check_batch(subject: Subject) -> Iterator[Finding]:
    """What a batch is made of."""
    first, size = subject.batches[0], subject.batch_size
    tensors = list(tensors_in(first))
    held = format_bytes(sum(tensor.numel() * tensor.element_size() for tensor in tensors))
    is_told = getattr(subject.workload.train_loader, "batch_size", None) is not None
    samples = "" if size is None else f"{counted(size, 'sample' if is_told else 'row')} in "
    yield ok(f"{samples}{counted(len(tensors), 'tensor')}, {held}")
    lacking = without_numbers(first)
    if lacking:
        yield warn(f"nan in {named(lacking)}", "Look for missing values in the data, or for a division by 0.")
    if size == 1:
        yield warn("batches of one sample", "Give the DataLoader a batch_size, unless one sample is meant.")


def check_parameters(subject: Subject) -> Iterator[Finding]:
    """Which parameters are trained, and whether the optimizer has them."""
    census = take_census(subject)
    frozen = f"{counted(census.frozen, 'frozen one')} ({census.frozen_values:,})" if census.frozen else "none frozen"
    several = f", in {census.optimizers} optimizers" if census.optimizers > 1 else ""
    yield ok(
        f"{counted(census.trained, 'trained parameter')} ({census.trained_values:,} values,"
        f" {format_bytes(census.trained_bytes)}{several}), {frozen}"
    )
    if census.not_in_optimizer:
        yield fail(
            f"{counted(len(census.not_in_optimizer), 'parameter')} that no optimizer has, though"
            f" requires_grad is set: {named(census.not_in_optimizer)}",
            "Create the optimizer from the parameters of the finished model, or freeze these with requires_grad_(False)"
            " if they are not to be trained.",
        )
    if census.frozen_in_optimizer:
        yield warn(
            f"{counted(len(census.frozen_in_optimizer), 'frozen parameter')} in the optimizer:"
            f" {named(census.frozen_in_optimizer)}",
            "Give it only what is trained: [p for p in model.parameters() if p.requires_grad]. Or unfreeze them, if"
            " they were to be trained.",
        )
    if census.strange:
        yield warn(
            f"{counted(census.strange, 'parameter')} of the optimizer that the model does not have",
            "Was the model made anew, copied or moved after the optimizer was created?",
        )


def check_initial_loss(subject: Subject) -> Iterator[Finding]:
    """The first loss against that of a uniform guess, where it is a cross entropy."""
    loss, guesses = initial_loss(subject)
    if not math.isfinite(loss):
        yield fail(
            f"the first loss is {loss:g}",
            "Look for log(0), a division by 0, nan in the data or weights that are not initialized;"
            " torch.autograd.set_detect_anomaly(True) names the operation.",
        )
    elif not guesses:
        yield skip(f"{format_loss(loss)}; no cross entropy, so there is no uniform guess to compare it with")
    else:
        for mistake in dict.fromkeys((guess.mistake, guess.function) for guess in guesses if guess.mistake):
            key, function = mistake
            status, detail, advice = MISTAKES[str(key)]
            yield Finding("fail" if status == "fail" else "warn", detail.format(function=function), advice)
        yield _beside_uniform(max(guesses, key=lambda guess: guess.loss / max(guess.uniform, 1e-12)), len(guesses))


def _beside_uniform(guess: Guess, calls: int) -> Finding:
    among = "of 0.5 for each" if guess.function.startswith("binary") else f"over {guess.classes:,} classes"
    which = f" (the worst of {calls} cross entropies)" if calls > 1 else ""
    told = f"{format_loss(guess.loss)}, where a uniform guess {among} has {format_loss(guess.uniform)}{which}"
    if guess.loss > CONFIDENT * guess.uniform:
        return warn(
            told,
            "The model begins with wrong convictions, which it has to unlearn first: initialize the last layer smaller,"
            " and see that labels and classes agree.",
        )
    if guess.loss < guess.uniform / CONFIDENT:
        return ok(f"{told}: it knows something already, as a pretrained model does")
    return ok(told)


def check_gradients(subject: Subject) -> Iterator[Finding]:
    """Whether gradients are finite and reach every trained parameter."""
    found = examine_gradients(subject)
    if found.non_finite:
        yield fail(
            f"nan or inf in the gradients of {counted(len(found.non_finite), 'parameter')}: {named(found.non_finite)}",
            "torch.autograd.set_detect_anomaly(True) names the operation: often the root or the logarithm of 0.",
        )
    if found.missing:
        yield warn(
            f"no gradient reaches {counted(len(found.missing), 'parameter')} of {found.parameters}:"
            f" {named(found.missing)}",
            "The loss does not depend on them: look for a layer that forward does not use, or a detach(). If that is"
            " meant, freeze them.",
        )
    if found.zero:
        yield warn(
            f"the gradient is 0 at all of {counted(found.steps, 'step')} for {counted(len(found.zero), 'parameter')}"
            f" of {found.parameters}: {named(found.zero)}",
            "Look for units that are always off (a ReLU after a large negative bias), a product with 0, or a saturated"
            " activation.",
        )
    if not (found.non_finite or found.missing or found.zero):
        yield ok(f"finite, with norm {format_loss(found.norm)}, for all of {counted(found.parameters, 'parameter')}")
