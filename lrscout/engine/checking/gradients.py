"""Gradients: whether they are finite, and which parameters they reach."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from lrscout.engine.checking.parameters import parameter_names
from lrscout.engine.checking.subject import KEPT_BATCHES, Subject
from lrscout.engine.workload import groups_of

UNREACHED = sys.float_info.max  # a norm that clips nothing; with None, a Trainer's own would count
GENTLY = 0.01  # of the own rate: some parameters have no gradient before the others have moved, as in LoRA


@dataclass(frozen=True, slots=True)
class Gradients:
    """The gradients of some steps, with the names of the parameters where something is wrong."""

    parameters: int
    norm: float  # at the first step
    missing: tuple[str, ...]  # no gradient at any step
    zero: tuple[str, ...]  # a gradient, but always 0
    non_finite: tuple[str, ...]  # nan or inf in the first one
    steps: int


def examine_gradients(subject: Subject) -> Gradients:
    """Take a few small steps on as many batches, and look at the gradients after each."""
    own = subject.whole.precision
    precision = "fp32" if own == "fp16" else own  # that scales them
    names = parameter_names(subject)
    reached: set[int] = set()
    moved: set[int] = set()
    wrong: list[str] = []
    norm = 0.0
    clip_norm = None if subject.whole.settings.clip_norm is None else UNREACHED
    with subject.session(precision=precision, clip_norm=clip_norm, clip_value=None) as session:
        parameters = [p for group in groups_of(session.optimizers) for p in group["params"] if p.requires_grad]
        session.set_lr(GENTLY * subject.own_lr)
        for step in range(KEPT_BATCHES):
            session.train_step()
            subject.tick(f"step {step + 1}")
            found = {id(p): _values(p.grad) for p in parameters if p.grad is not None}
            reached |= set(found)
            moved |= {key for key, values in found.items() if bool(values.any())}
            if not step:
                wrong = [names.get(key, "?") for key, values in found.items() if not bool(values.isfinite().all())]
                norm = sum(float(values.float().norm()) ** 2 for values in found.values()) ** 0.5
    return Gradients(
        parameters=len(parameters),
        norm=norm,
        missing=tuple(names.get(id(p), "?") for p in parameters if id(p) not in reached),
        zero=tuple(names.get(id(p), "?") for p in parameters if id(p) in reached - moved),
        non_finite=tuple(wrong),
        steps=KEPT_BATCHES,
    )


def _values(gradient: Tensor) -> Tensor:
    """The values of a gradient, of which an embedding may store only some."""
    return gradient.coalesce().values() if gradient.layout is torch.sparse_coo else gradient
