"""A session in training: steps at the current rates, and evaluations that leave no trace in it."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from lrscout.engine.batches import samples_in, to_device
from lrscout.engine.randomness import generator_owners, random_state, seed_everything
from lrscout.engine.session import Session, scalar
from lrscout.engine.state import eval_mode
from lrscout.errors import WorkloadError

MetricFn = Callable[[torch.nn.Module, Any], Any]
"""(model, batch) -> a number; the batch is on the device, the model in eval mode."""


class Trainee:
    """An open session with the interface that a training run needs (lrscout.search.training.TrainingSession)."""

    def __init__(self, session: Session, metric_fn: MetricFn | None = None) -> None:
        self.step = session.step
        self.losses = session.losses
        self._session, self._metric_fn = session, metric_fn
        self._loader = session.workload.val_loader

    def evaluate(self) -> float | None:
        """The mean loss or metric over the val_loader, weighted by samples per batch; None without a val_loader.

        Every evaluation draws the same random numbers, and restores the random states of the training.

        Raises:
            WorkloadError: the val_loader is empty, or a value is not a real scalar.
        """
        if self._loader is None:
            return None
        workload = self._session.workload
        loaders = (workload.train_loader, self._loader)
        owners = [owner for loader in loaders for owner in generator_owners(loader)]
        restore = random_state([*owners, *workload.model.modules()])
        try:
            seed_everything(self._session.settings.seed)
            with torch.no_grad(), eval_mode(workload.model):
                return self._mean()
        finally:
            restore()

    def _mean(self) -> float:
        values: list[Tensor] = []
        samples: list[int] = []
        for batch in self._loader or ():
            batch = to_device(batch, self._session.device)
            values.append(self._value(batch))
            samples.append(samples_in(batch) or 0)
        if not values:
            raise WorkloadError(
                "The val_loader is empty, or can be iterated only once.",
                hint="Use a DataLoader or a list of batches.",
            )
        losses: list[float] = torch.stack(values).tolist()
        if not all(samples):
            return fmean(losses)
        return sum(loss * count for loss, count in zip(losses, samples)) / sum(samples)

    def _value(self, batch: Any) -> Tensor:
        if self._metric_fn is None:
            return self._session.loss(batch).float()
        with self._session.autocast:
            value = self._metric_fn(self._session.workload.model, batch)
        if isinstance(value, Tensor):
            return scalar(value, "metric").detach().float()
        try:
            return torch.tensor(float(value), device=self._session.device)
        except (TypeError, ValueError):
            raise WorkloadError(
                f"The metric must be a number, not {type(value).__name__!r}.",
                hint="--metric-fn is called with (model, batch) and must return a number or a tensor of one element.",
            ) from None
