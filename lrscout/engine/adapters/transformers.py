"""A transformers.Trainer as a target: its model, data, optimizer, loss and arguments, without its loop."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrscout.engine.host import Host
from lrscout.engine.workload import Workload
from lrscout.errors import TargetError

ITEMS = "num_items_in_batch"
NOT_RUN = ("training_step", "prediction_step")  # methods of a subclass that our steps replace


def adapted(trainer: Any) -> Workload:
    """The workload of a Trainer, which is left as it is.

    Raises:
        TargetError: it has no data to train on, or a method that no Trainer can call.
    """
    if trainer.train_dataset is None:
        raise TargetError("The Trainer has no train_dataset.", hint="Give it the data that it is to train on.")
    _check_methods(trainer)
    train_loader, val_loader = _loaders_of(trainer)
    optimizer = _optimizer_of(trainer)
    host = TrainerHost(trainer, optimizer)
    return Workload(
        model=trainer.model,
        train_loader=train_loader,
        optimizer=optimizer,
        val_loader=val_loader,
        step=host.step,
        val_step=host.val_step,
        host=host,
    )


class TrainerHost(Host):
    """Computes the loss as the Trainer's own loop does."""

    framework = "transformers"
    held_out_data = "eval_dataset"

    def __init__(self, trainer: Any, optimizer: Optimizer) -> None:
        self._trainer = trainer
        self._device = torch.device("cpu")
        self._items: Tensor | int | None = None  # that the losses of all micro-batches of a step are divided by
        arguments = trainer.args
        self.arguments = type(arguments).__name__
        is_its_own = all(group["lr"] == arguments.learning_rate for group in optimizer.param_groups)
        self.names_rate = trainer.optimizer is None and is_its_own
        own = {
            "precision": "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else None,
            "accumulate": arguments.gradient_accumulation_steps if arguments.gradient_accumulation_steps > 1 else None,
            "clip_norm": float(arguments.max_grad_norm) if arguments.max_grad_norm else None,
        }
        self.settings = {name: value for name, value in own.items() if value is not None}
        self.warnings = tuple(_warnings(trainer))

    @contextmanager
    def open(self, workload: Workload, device: torch.device, accumulate: int = 1) -> Iterator[None]:
        """Train all of the model, as the Trainer does before every step, and checkpoint activations if it does."""
        self._device = device
        model, arguments = self._trainer.model, self._trainer.args
        model.train()  # a pretrained model is in eval mode, also where another one is around it
        if getattr(arguments, "activation_checkpointing", False):  # from version 5 on
            options = dict(arguments.activation_checkpointing_kwargs or {})
            named = {name: options.pop(name) for name in ("every_n_layers", "offload") if name in options}
            model.activation_checkpointing_enable(activation_checkpointing_kwargs=options or None, **named)
        elif getattr(arguments, "gradient_checkpointing", False):
            model.gradient_checkpointing_enable(arguments.gradient_checkpointing_kwargs)
        yield

    def gathered(self, batches: Iterable[Any], device: torch.device) -> Iterable[Any]:
        """The micro-batches of a step, whose labels are counted together."""
        listed = list(batches)
        self._items = self._items_in(listed)
        self.divides = self._is_divided()
        return listed

    def step(self, batch: Any) -> Tensor:
        """The loss of a micro-batch."""
        # a copy, because some losses take the labels out
        loss: Tensor = self._trainer.compute_loss(self._trainer.model, copy.copy(batch), num_items_in_batch=self._items)
        return loss

    def val_step(self, batch: Any) -> Tensor:
        """The loss of a batch of held-out data."""
        items = self._items_in([batch])
        loss: Tensor = self._trainer.compute_loss(self._trainer.model, copy.copy(batch), num_items_in_batch=items)
        return loss.mean()

    def training_steps(self, batches: int | None) -> int | None:
        """The optimizer steps of its training, as Trainer.set_initial_training_values counts them."""
        arguments = self._trainer.args
        if arguments.max_steps > 0:
            return int(arguments.max_steps)
        if batches is None:
            return None
        accumulate: int = arguments.gradient_accumulation_steps
        epochs: float = arguments.num_train_epochs
        return max(1, math.ceil(epochs * max(1, math.ceil(batches / accumulate))))

    def clipped(self, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """Those of the model: a loss may have some of its own, which the Trainer trains without clipping."""
        of_model = {id(parameter) for parameter in self._trainer.model.parameters()}
        return [parameter for parameter in parameters if id(parameter) in of_model]

    def with_batch_size(self, workload: Workload, batch_size: int) -> Workload | None:
        """With the Trainer's own loaders, whose samplers may make the batches."""
        train_loader, val_loader = _loaders_of(self._trainer, batch_size)
        if getattr(train_loader, "batch_size", None) not in (batch_size, None):  # an own get_train_dataloader's
            return None
        return replace(workload, train_loader=train_loader, val_loader=val_loader)

    def _items_in(self, batches: list[Any]) -> Any:
        return self._trainer.get_batch_samples(iter(batches), len(batches), self._device)[1]

    def _is_divided(self) -> bool:
        """Whether the loss of a micro-batch is divided by the labels of all of them, as in Trainer.training_step."""
        trainer = self._trainer
        said = getattr(trainer, "loss_is_scaled_for_ga", None)  # of a subclass
        if said is not None:
            return bool(said)
        counted = trainer.model_accepts_loss_kwargs and self._items is not None
        return bool(counted or trainer.compute_loss_func is not None)


def _warnings(trainer: Any) -> Iterator[str]:
    replaced = [name for name in NOT_RUN if _overrides(trainer, name)]
    if replaced:
        yield f"{type(trainer).__name__}.{replaced[0]} is not run: lrscout takes the steps, with its compute_loss."
    if trainer.args.neftune_noise_alpha:
        yield "The Trainer's neftune_noise_alpha has no effect here."
    held_out = trainer.eval_dataset
    if isinstance(held_out, dict) and len(held_out) > 1:
        yield f"Only the first of {len(held_out)} eval_datasets, {next(iter(held_out))!r}, is evaluated."


def _overrides(trainer: Any, name: str) -> bool:
    """Whether a method is neither Trainer's nor that of another class of transformers, which has the same loss."""
    module: str = getattr(type(trainer), name).__module__
    return module.partition(".")[0] != "transformers"


def _check_methods(trainer: Any) -> None:
    """See that the loss can be called as Trainer.training_step calls it, since transformers 4.46, on batches as loaded.

    Raises:
        TargetError: it cannot.
    """
    kind = type(trainer).__name__
    parameters = inspect.signature(trainer.compute_loss).parameters.values()
    if not any(each.name == ITEMS or each.kind is each.VAR_KEYWORD for each in parameters):
        raise TargetError(
            f"{kind}.compute_loss takes no {ITEMS}, which Trainer passes it.",
            hint=f"Add {ITEMS}=None to its parameters.",
        )
    if _overrides(trainer, "_prepare_inputs"):
        raise TargetError(
            f"{kind} makes what it trains on in its own _prepare_inputs, which lrscout does not run.",
            hint="A loss on samples that the model makes itself, as in reinforcement learning, tells no rate. If it"
            " learns from given data, prepare them in the data_collator.",
        )


def _optimizer_of(trainer: Any) -> Optimizer:
    before = trainer.optimizer
    try:
        made: Optimizer = trainer.create_optimizer()
    finally:
        trainer.optimizer = before
    return made


def _loaders_of(trainer: Any, batch_size: int | None = None) -> tuple[Any, Any]:
    """Those of the training and of held-out data (None without it), maybe with batches of another size."""
    arguments = trainer.args
    before = arguments.per_device_train_batch_size, arguments.per_device_eval_batch_size
    try:
        with _unprepared(trainer):
            if batch_size is not None:
                trainer._train_batch_size = batch_size
                arguments.per_device_train_batch_size = arguments.per_device_eval_batch_size = batch_size
            held_out = trainer.eval_dataset
            val_loader = None if held_out is None else trainer.get_eval_dataloader(_first_of(held_out))
            return trainer.get_train_dataloader(), val_loader
    finally:
        arguments.per_device_train_batch_size, arguments.per_device_eval_batch_size = before


@contextmanager
def _unprepared(trainer: Any) -> Iterator[None]:
    """Let the Trainer make plain loaders: those of Accelerate count their epochs, which cannot be put back."""
    accelerator = trainer.accelerator
    accelerator.prepare = lambda loader, *more, **options: loader
    before = dict(vars(trainer))
    vars(trainer).pop("_eval_dataloaders", None)  # kept ones, with persistent workers
    try:
        yield
    finally:
        del accelerator.prepare
        vars(trainer).clear()
        vars(trainer).update(before)


def _first_of(datasets: Any) -> Any:
    return next(iter(datasets.values())) if isinstance(datasets, dict) else datasets
