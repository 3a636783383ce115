"""Stochastic weight averaging: a mean of the weights beside the training, which is what evaluations see."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, update_bn

from lrscout.engine.batches import to_device
from lrscout.engine.optimizers import parameters_of
from lrscout.engine.session import Session
from lrscout.engine.state import module_state
from lrscout.errors import UsageError

NORM_BATCHES = 20  # the latest ones of the training, from which a batch norm gets its statistics


class WeightAverage:
    """The mean of what the optimizers of an open session train, after each step from `first` on.

    It is held once, on the device of the weights. The steps are those of the session, bit for bit.
    """

    def __init__(self, session: Session, first: int) -> None:
        self._session, self._waits = session, first
        self._trained = nn.ParameterList(dict.fromkeys(parameters_of(session.optimizers)))  # no copies
        self._mean: AveragedModel | None = None
        self._norms = batch_norms(session.workload.model)
        self._batches: deque[Any] = deque(maxlen=NORM_BATCHES)
        if self._norms:
            session.on_batch.append(self._batches.append)

    def step(self, lr: float | None = None) -> None:
        """Take a step of the session, and count its weights from the first one that matters."""
        self._session.step(lr)
        if self._waits:
            self._waits -= 1
            return
        if self._mean is None:
            self._mean = AveragedModel(self._trained)
        self._mean.update_parameters(self._trained)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the mean into the model, with the statistics of batch norms that go with it; put all back on exit."""
        if self._mean is None:
            yield
            return
        restore = module_state([self._session.workload.model]) if self._norms else _nothing
        self._exchange(self._mean)
        try:
            if self._norms:
                self._update_norms()
            yield
        finally:
            self._exchange(self._mean)
            restore()

    @torch.no_grad()
    def _exchange(self, mean: AveragedModel) -> None:
        """Swap the values, not the tensors: others hold them. It takes the memory of the largest one."""
        for parameter, average in zip(self._trained, mean.module.parameters()):
            value = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(value)

    def _update_norms(self) -> None:
        session = self._session
        loss = _Forward(self._norms, lambda batch: session.loss(to_device(batch, session.device)))
        update_bn([(batch,) for batch in self._batches], loss)  # it passes on the first part of a tuple


class _Forward(nn.Module):
    """For update_bn: the batch norms that train, since those that were frozen keep their statistics."""

    def __init__(self, norms: list[_BatchNorm], forward: Callable[[Any], Any]) -> None:
        super().__init__()
        self.norms, self._call = nn.ModuleList(norms), forward

    def forward(self, batch: Any) -> Any:
        """Whatever reaches the norms."""
        return self._call(batch)


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms in train mode that keep statistics."""
    modules = model.modules()
    return [each for each in modules if isinstance(each, _BatchNorm) and each.training and each.track_running_stats]


def check_can_average(label: str, session: Session, lacks: str | None, needs_metric: bool) -> None:
    """See that the mean of the weights can be evaluated, and that the training does not depend on that.

    `lacks` says why nothing can be evaluated, if so.

    Raises:
        UsageError: there is no held-out data, the schedule depends on evaluations, or the statistics of batch norms
            cannot be updated.
    """
    if lacks is not None:
        data = f"Give the target held-out data ({session.workload.host.held_out_data})"
        raise UsageError(
            f"{label} needs held-out data with a loss to tell what the averaged weights are worth. {lacks}",
            hint=f"{data if session.workload.val_loader is None else 'Let it return one'}, or leave out +swa.",
        )
    if needs_metric:
        raise UsageError(
            f"{label} would not train as it does without +swa: its rates depend on evaluations, which are those of the"
            " averaged weights.",
            hint="Average under a schedule that does not depend on them, such as constant+swa.",
        )
    if session.workload.manual and batch_norms(session.workload.model):
        raise UsageError(
            f"{label} cannot update the statistics of the model's batch norms: the target's step is manual, so it"
            " would train.",
            hint="Leave manual out and return the loss, for lrscout to call backward.",
        )


def _nothing() -> None:
    pass
