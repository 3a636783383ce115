"""The initial loss beside that of a uniform guess."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lrscout.engine.batches import to_device
from lrscout.engine.checking.copies import copied
from lrscout.engine.checking.subject import Subject

SUM_ERROR = 0.02  # of probabilities in half precision
MIN_VALUES = 16  # that lie from 0 to 1, before that is no chance


@dataclass(frozen=True, slots=True)
class Guess:
    """One call of a cross entropy."""

    function: str
    classes: int
    loss: float  # of a prediction, in the mean
    uniform: float  # the loss of a guess that gives all classes the same probability
    mistake: str | None  # what its input is, if that is not what the function takes; a key of MISTAKES in runs/check


def initial_loss(subject: Subject) -> tuple[float, list[Guess]]:
    """The loss of the first batch in training mode, and the cross entropies that were computed for it, if any."""
    with subject.session() as session:  # with gradients: a step may call backward() for a part of its own
        batch = to_device(copied(subject.batches[0]), session.device)
        loss = float(session.loss(copied(batch)).detach())
        spy = _Spy()
        with suppress(Exception), spy:  # a compiled model may refuse it; the loss itself has been computed above
            session.loss(batch)
        return loss, spy.seen


class _Spy(TorchFunctionMode):
    """Sees the calls of cross entropies, wherever the user's code makes them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Guess] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in KNOWN and args:
            scores, rest = args[0].detach(), args[1:]
            classes, uniform = KNOWN[func](scores)
            if kwargs.get("reduction") == "sum":  # as a Trainer calls it, which divides by the labels afterwards
                kwargs = {**kwargs, "reduction": "mean"}
            self.seen.append(
                Guess(
                    func.__name__,
                    classes,
                    float(func(scores, *rest, **kwargs).detach().float().mean()),
                    float(func(uniform, *rest, **kwargs).detach().float().mean()),
                    _mistake(func, scores.float(), classes),
                )
            )
        return result


def _of_classes(value: Callable[[int], float]) -> Callable[[Tensor], tuple[int, Tensor]]:
    def uniform(scores: Tensor) -> tuple[int, Tensor]:
        classes = scores.shape[_class_dim(scores)]
        return classes, torch.full_like(scores, value(classes))

    return uniform


def _class_dim(scores: Tensor) -> int:
    return 1 if scores.dim() > 1 else 0


KNOWN: dict[Any, Callable[[Tensor], tuple[int, Tensor]]] = {
    functional.cross_entropy: _of_classes(lambda classes: 0.0),
    functional.nll_loss: _of_classes(lambda classes: -math.log(classes)),
    functional.binary_cross_entropy_with_logits: lambda scores: (2, torch.zeros_like(scores)),
    functional.binary_cross_entropy: lambda scores: (2, torch.full_like(scores, 0.5)),
}
"""From the input of each cross entropy to the number of classes and the input that makes a uniform guess."""


def _mistake(func: Any, scores: Tensor, classes: int) -> str | None:
    if not scores.numel() or func is functional.binary_cross_entropy:
        return None
    if func is functional.binary_cross_entropy_with_logits:
        within = bool(((scores > 0) & (scores < 1)).all())  # a last layer that begins with zeros is sound
        return "sigmoid" if within and scores.numel() >= MIN_VALUES else None
    if classes == 1:
        return "one class"
    dim = _class_dim(scores)
    if bool((scores >= 0).all()) and bool(((scores.sum(dim) - 1).abs() < SUM_ERROR).all()):
        return "probabilities"
    if func is functional.nll_loss and not bool(((scores.exp().sum(dim) - 1).abs() < SUM_ERROR).all()):
        return "scores"
    return None
