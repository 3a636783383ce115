"""What a LightningModule finds in place of its Trainer: as much as its steps and hooks need."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch.optim import Optimizer

from lrscout.engine.batches import batches_in

MAX_EPOCHS = 1  # what a module is told that asks for the length of the training


class StandIn:
    """The `self.trainer` of a module that no Trainer trains."""

    testing = predicting = sanity_checking = fast_dev_run = barebones = should_stop = False
    num_nodes = accumulate_grad_batches = 1
    node_rank = 0
    checkpoint_callback = early_stopping_callback = progress_bar_callback = None
    gradient_clip_val = gradient_clip_algorithm = datamodule = None
    log_every_n_steps = 50
    limit_train_batches = limit_val_batches = val_check_interval = 1.0
    check_val_every_n_epoch = 1
    reload_dataloaders_every_n_epochs = 0

    def __init__(self, module: Any, datamodule: Any) -> None:
        self.lightning_module = self.model = module
        self.datamodule = datamodule
        self.batches: int | None = None  # in an epoch
        self.train_dataloader: Any = None
        self.val_dataloaders: Any = None
        self.schedulers = 1  # of configure_optimizers
        self.optimizers: list[Optimizer] = []
        self.logged: dict[str, Any] = {}
        self.callbacks: list[Any] = []
        self.logger = part(module, "loggers.logger").DummyLogger()  # which takes any call
        self.loggers: list[Any] = [self.logger]
        self.lr_scheduler_configs: list[Any] = []
        self._states = part(module, "trainer.states")
        self.state = self._states.TrainerState(
            self._states.TrainerStatus.RUNNING, self._states.TrainerFn.FITTING, self._states.RunningStage.TRAINING
        )
        self.strategy = _Strategy(self)
        self.was_asked_for_length = False
        self.begin()

    def begin(self, loader: Any = None, accumulate: int = 1) -> None:
        """Count from the first batch of this loader again, or of the one before."""
        if loader is not None:
            self.train_dataloader = getattr(loader, "iterables", loader)  # of loaders that are joined
            self.batches = batches_in(loader) or self.batches
        self.accumulate_grad_batches = accumulate
        self.batch_index = self.current_epoch = self.global_step = 0
        self.logged.clear()

    @contextmanager
    def validation(self) -> Iterator[None]:
        """Be in the stage of validation for a while."""
        before = self.state.stage
        self.state.stage = self._states.RunningStage.VALIDATING
        try:
            yield
        finally:
            self.state.stage = before

    @property
    def training(self) -> bool:
        return bool(self.state.stage == self._states.RunningStage.TRAINING)

    @property
    def validating(self) -> bool:
        return not self.training

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
    def is_last_batch(self) -> bool:
        return self.batch_index + 1 == self.batches

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
        return MAX_EPOCHS * math.ceil((self.batches or 1000) / self.accumulate_grad_batches)

    @property
    def world_size(self) -> int:
        return dist.get_world_size() if _has_ranks() else 1

    num_devices = world_size  # on one node

    @property
    def global_rank(self) -> int:
        return dist.get_rank() if _has_ranks() else 0

    local_rank = global_rank

    @property
    def is_global_zero(self) -> bool:
        return self.global_rank == 0

    @property
    def default_root_dir(self) -> str:
        return os.getcwd()

    def __getattr__(self, name: str) -> Any:
        raise _not_there("self.trainer", name)


def _not_there(owner: str, name: str) -> AttributeError:
    return AttributeError(
        f"{owner}.{name} is not there: lrscout trains the module itself, without a Trainer. Guard it, for example with"
        f" getattr({owner}, ...)."
    )


def _has_ranks() -> bool:
    return dist.is_available() and dist.is_initialized()


class _Strategy:
    """What an optimizer of Lightning's steps with."""

    def __init__(self, trainer: StandIn) -> None:
        self._trainer = trainer
        self.lightning_module = self.model = trainer.lightning_module
        self._lightning_optimizers: list[Any] = []

    @property
    def root_device(self) -> torch.device:
        return torch.device(self.lightning_module.device)

    def __getattr__(self, name: str) -> Any:
        raise _not_there("self.trainer.strategy", name)

    def set_optimizers(self, optimizers: Sequence[Optimizer]) -> None:
        wrapper = part(self.lightning_module, "core.optimizer").LightningOptimizer
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


def part(module: Any, name: str) -> Any:
    """A part of the package that the module's Lightning is, which has two names."""
    package = next(
        kind.__module__.removesuffix(".core.module")
        for kind in type(module).__mro__
        if kind.__name__ == "LightningModule" and kind.__module__.endswith(".core.module")
    )
    return importlib.import_module(f"{package}.{name}")


@contextmanager
def in_place_of_trainer(trainer: StandIn) -> Iterator[None]:
    """Let the module and its datamodule find the stand-in, and keep what the module logs to ourselves."""
    module, datamodule = trainer.lightning_module, trainer.datamodule
    before = module._trainer, getattr(datamodule, "trainer", None)
    own = {
        "log": lambda name, value, *args, **more: _log(trainer.logged, name, value),
        "log_dict": lambda values, *args, **more: _log_all(trainer.logged, values),
        "print": lambda *args, **more: None,
        "lr_schedulers": lambda: _schedulers(trainer.schedulers),
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


def _schedulers(count: int) -> Any:
    """What stands in for so many schedulers, in the form that self.lr_schedulers() has; the rates are lrscout's."""
    each = SimpleNamespace(step=lambda *args: None, get_last_lr=lambda: [0.0])
    return [each] * count if count > 1 else each if count else None


def _log(logged: dict[str, Any], name: str, value: Any) -> None:
    value = getattr(value, "_forward_cache", value)  # of a metric of torchmetrics: that of the batch
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
