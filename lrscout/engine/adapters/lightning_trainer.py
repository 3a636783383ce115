"""What a LightningModule finds in place of its Trainer: as much as its steps and hooks need."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch.optim import Optimizer

MAX_EPOCHS = 1  # what a module is told that asks for the length of the training


class StandIn:
    """The `self.trainer` of a module that no Trainer trains."""

    is_global_zero = training = True
    validating = testing = predicting = sanity_checking = fast_dev_run = barebones = should_stop = False
    world_size = num_devices = num_nodes = accumulate_grad_batches = 1
    global_rank = local_rank = node_rank = 0
    logger = checkpoint_callback = early_stopping_callback = progress_bar_callback = None
    gradient_clip_val = gradient_clip_algorithm = datamodule = None
    log_every_n_steps = 50

    def __init__(self, module: Any, datamodule: Any) -> None:
        self.lightning_module, self.datamodule = module, datamodule
        self.batches: int | None = None  # in an epoch
        self.optimizers: list[Optimizer] = []
        self.logged: dict[str, Any] = {}
        self.callbacks: list[Any] = []
        self.loggers: list[Any] = []
        self.lr_scheduler_configs: list[Any] = []
        self.strategy = _Strategy(self)
        self.was_asked_for_length = False
        self.begin()

    def begin(self, batches: int | None = None) -> None:
        """Count from the first batch again, with so many in an epoch, or else as many as before."""
        self.batches = batches or self.batches
        self.batch_index = self.current_epoch = self.global_step = 0
        self.logged.clear()

    def count_batch(self) -> bool:
        """Count a batch; whether an epoch ends with it."""
        self.batch_index += 1
        if self.batch_index != self.batches:
            return False
        self.batch_index = 0
        return True

    def set_optimizers(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        self.strategy.set_optimizers(self.optimizers)

    @property
    def callback_metrics(self) -> dict[str, Any]:
        return self.logged

    logged_metrics = progress_bar_metrics = callback_metrics

    @property
    def num_training_batches(self) -> float:
        return float("inf") if self.batches is None else self.batches

    @property
    def max_epochs(self) -> int:
        self.was_asked_for_length = True
        return MAX_EPOCHS

    @property
    def max_steps(self) -> int:
        return int(self.estimated_stepping_batches)

    @property
    def estimated_stepping_batches(self) -> int:
        self.was_asked_for_length = True
        return MAX_EPOCHS * (self.batches or 1000)

    @property
    def default_root_dir(self) -> str:
        return os.getcwd()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"self.trainer.{name} is not there: lrscout trains the module itself, without a Trainer. Guard it, for"
            " example with getattr(self.trainer, ...)."
        )


class _Strategy:
    """What an optimizer of Lightning's steps with."""

    def __init__(self, trainer: StandIn) -> None:
        self._trainer = trainer
        self.lightning_module = self.model = trainer.lightning_module
        self._lightning_optimizers: list[Any] = []

    def set_optimizers(self, optimizers: Sequence[Optimizer]) -> None:
        package = next(
            kind.__module__.removesuffix(".core.module")
            for kind in type(self.lightning_module).__mro__
            if kind.__name__ == "LightningModule" and kind.__module__.endswith(".core.module")
        )
        wrapper = importlib.import_module(f"{package}.core.optimizer").LightningOptimizer
        self._lightning_optimizers = [wrapper(optimizer) for optimizer in optimizers]
        for wrapped in self._lightning_optimizers:
            wrapped._strategy = self

    def optimizer_step(self, optimizer: Optimizer, closure: Callable[[], Any], **more: Any) -> Any:
        self.lightning_module.on_before_optimizer_step(optimizer)
        result = optimizer.step(closure, **more)
        self._trainer.global_step += 1
        return result

    def backward(self, loss: Any, optimizer: Any, *args: Any, **more: Any) -> None:
        self.lightning_module.on_before_backward(loss)
        self.lightning_module.backward(loss, *args, **more)
        self.lightning_module.on_after_backward()

    def all_gather(self, data: Any, *args: Any, **more: Any) -> Any:
        return data

    def reduce(self, data: Any, *args: Any, **more: Any) -> Any:
        return data


@contextmanager
def in_place_of_trainer(trainer: StandIn) -> Iterator[None]:
    """Let the module and its datamodule find the stand-in, and keep what the module logs to ourselves."""
    module, datamodule = trainer.lightning_module, trainer.datamodule
    before = module._trainer, getattr(datamodule, "trainer", None)
    own = {
        "log": lambda name, value, *args, **more: _log(trainer.logged, name, value),
        "log_dict": lambda values, *args, **more: _log_all(trainer.logged, values),
        "print": lambda *args, **more: None,
        "lr_schedulers": lambda: SimpleNamespace(step=lambda *args: None, get_last_lr=lambda: [0.0]),
        "clip_gradients": _clip,
    }
    module.trainer = trainer
    if datamodule is not None:
        datamodule.trainer = trainer
    vars(module).update(own)
    try:
        yield
    finally:
        for name in own:
            vars(module).pop(name, None)
        module.trainer = before[0]
        if datamodule is not None:
            datamodule.trainer = before[1]


def _log(logged: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, (int, float, torch.Tensor)):
        logged[name] = value.detach() if isinstance(value, torch.Tensor) else value


def _log_all(logged: dict[str, Any], values: Any) -> None:
    for name, value in values.items():
        _log(logged, name, value)


def _clip(optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None) -> None:
    """Clip as Lightning does, in a step that calls self.clip_gradients."""
    if not gradient_clip_val:
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if gradient_clip_algorithm == "value":
        torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val)
    else:
        torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)
