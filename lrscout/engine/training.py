"""A session in training: steps at the current rates, and evaluations that leave no trace in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from lrscout.engine.averaging import WeightAverage
from lrscout.engine.batches import batches_in, check_is_batch, samples_in, to_device
from lrscout.engine.losses import scalar
from lrscout.engine.modes import eval_mode
from lrscout.engine.randomness import generator_owners, random_state, seed_everything
from lrscout.engine.session import Session
from lrscout.errors import WorkloadError

MOST_VAL_BATCHES = 100  # of a val_loader without a length, per evaluation: their mean is a tenth as noisy as one batch

MetricFn = Callable[[torch.nn.Module, Any], Any]
"""(model, batch) -> a number; the batch is on the device, the model in eval mode."""


class Trainee:
    """An open session with the interface that a training run needs (lrscout.search.training.TrainingSession).

    `most_batches` are evaluated where the val_loader does not say how many it has: it may never end. Where there is an
    `average` of the weights, that is what is evaluated.
    """

    def __init__(
        self,
        session: Session,
        metric_fn: MetricFn | None = None,
        most_batches: int = MOST_VAL_BATCHES,
        average: WeightAverage | None = None,
    ) -> None:
        self.step = session.step if average is None else average.step
        self.losses = session.losses
        self._session, self._metric_fn, self._average = session, metric_fn, average
        self._loader, self._most_batches = session.workload.val_loader, most_batches
        self._cut_at: int | None = None  # the batches of an evaluation, where the val_loader had more
        self._warnings: list[str] = []

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the evaluations so far."""
        if self._cut_at is None:
            return tuple(self._warnings)
        return (
            *self._warnings,
            f"The val_loader did not end after {self._cut_at} batches: every evaluation stops there. Give it an end,"
            " or a fixed list of batches, to decide how many.",
        )

    @cached_property
    def lacks(self) -> str | None:
        """Why nothing can be evaluated, as a sentence; None if it can."""
        host = self._session.workload.host
        if self._loader is None:
            return f"The target has no {host.held_out_data}."
        if self._metric_fn is not None:
            return None
        with self._apart():
            error = host.no_val_loss(self._first_loss)
        if error is None:
            return None
        self._warnings.append(f"{error.message} The training loss counts instead. {error.hint}")
        return error.message

    def _first_loss(self) -> Any:
        """That of the first batch, by the session, since ranks may have divided the model; None without a batch."""
        for batch in self._loader or ():
            return self._session.held_out_loss(to_device(batch, self._session.device))
        return None

    def evaluate(self) -> float | None:
        """The mean loss or metric over the val_loader, weighted by samples per batch; None without either.

        Every evaluation draws the same random numbers, and restores the random states of the training.

        Raises:
            WorkloadError: the val_loader is empty, or a value is not a real scalar.
        """
        if self._loader is None or self.lacks is not None:
            return None
        with self._apart():
            return self._mean(self._loader)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """In eval mode and with the same random numbers each time, without a trace in the training."""
        workload = self._session.workload
        loaders = (workload.train_loader, self._loader)
        owners = [owner for loader in loaders for owner in generator_owners(loader)]
        restore = random_state([*owners, *workload.model.modules()])
        try:
            with nullcontext() if self._average is None else self._average.in_place():
                seed_everything(self._session.settings.seed)
                with torch.no_grad(), eval_mode(workload.model):
                    yield
        finally:
            restore()

    def _mean(self, loader: Iterable[Any]) -> float:
        values: list[Tensor] = []
        samples: list[int] = []
        limit = batches_in(loader) or self._most_batches
        for count, batch in enumerate(loader):
            if not count:
                check_is_batch(loader, batch, "val_loader")
            if count == limit:
                self._cut_at = limit
                break
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
            return self._session.held_out_loss(batch)
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
