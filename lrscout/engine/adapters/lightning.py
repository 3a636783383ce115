"""A LightningModule as a target: its steps, optimizers and data, without a Trainer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrscout.engine.adapters.lightning_data import joined, left_out_of, overrides, several, transfer_hooks
from lrscout.engine.adapters.lightning_losses import NoLossError, training_loss, validation_loss
from lrscout.engine.adapters.lightning_trainer import StandIn, in_place_of_trainer
from lrscout.engine.batches import batches_in
from lrscout.engine.host import Host
from lrscout.engine.workload import Workload, is_lightning
from lrscout.errors import TargetError, WorkloadError, did_you_mean

TUPLE = ("model", "train_loader", "loss_fn", "optimizer", "val_loader")
KEYS = ("model", "datamodule", "train_loader", "val_loader", "optimizer")


def adapted(given: Any) -> Workload | None:
    """The workload of a LightningModule; None if the target says itself how its loss is computed.

    Raises:
        TargetError: there is no data, the datamodule is none of Lightning's, or the optimizers are of an unknown form.
    """
    if isinstance(given, Workload) and given.host.__class__ is not Host:
        return given
    parts = {name: part for name, part in _parts_of(given).items() if part is not None}
    if "loss_fn" in parts or "step" in parts:
        return None
    for name in parts:
        if name not in KEYS:
            raise TargetError(
                f"The target's LightningModule comes with an unknown {name!r}.", hint=did_you_mean(name, KEYS)
            )
    if is_lightning(parts.get("train_loader"), "LightningDataModule"):
        parts["datamodule"] = parts.pop("train_loader")
    datamodule = parts.get("datamodule")
    if datamodule is not None and not is_lightning(datamodule, "LightningDataModule"):
        raise TargetError(
            f"The datamodule must be a LightningDataModule, not {type(datamodule).__name__!r}.",
            hint='Let it inherit from LightningDataModule, or give its loader: {"model": ..., "train_loader": ...}.',
        )
    module = parts["model"]
    host = LightningHost(getattr(module, "_orig_mod", module), datamodule)  # within torch.compile
    if host.module is not module:
        host.warnings += ("The torch.compile around the module is left out: --compile compiles its forward.",)
    return host.workload(parts)


def _parts_of(given: Any) -> dict[str, Any]:
    if isinstance(given, Workload):
        values = {f.name: getattr(given, f.name) for f in fields(given) if f.name != "host"}
        return {name: value for name, value in values.items() if value is not False}
    if isinstance(given, tuple):
        return dict(zip(TUPLE, given))
    return dict(given) if isinstance(given, Mapping) else {"model": given}


class LightningHost(Host):
    """Calls the hooks of a LightningModule in the order in which Lightning does."""

    framework = "lightning"
    held_out_data = "val_dataloader"

    def __init__(self, module: Any, datamodule: Any) -> None:
        self.module, self._datamodule = module, datamodule
        self._trainer = StandIn(module, datamodule)
        self._kept: list[Any] = []  # the schedulers, whose lengths are looked up where they are alive
        self.warnings = left_out_of(module)
        self._takes_index = _takes(module.training_step, 2)
        self._transfers: Sequence[Callable[[Any], Any]] = ()
        self._given: Mapping[str, Any] = {}

    def workload(self, parts: Mapping[str, Any]) -> Workload:
        """Set everything up as for a fit, without the fit."""
        self._given = parts
        module, datamodule = self.module, self._datamodule
        with in_place_of_trainer(self._trainer):
            for owner in (datamodule, module):
                if owner is not None:
                    owner.prepare_data()
                    owner.setup("fit")
            module.configure_model()
            train_loader, val_loader = self._loaders()
            self._trainer.begin(train_loader)
            self._trainer.val_dataloaders = val_loader
            optimizer = parts.get("optimizer") or self._optimizers()
        return Workload(
            model=module,
            train_loader=train_loader,
            optimizer=optimizer,
            val_loader=val_loader,
            step=self.step,
            val_step=self.val_step,
            manual=not module.automatic_optimization,
            host=self,
        )

    def _loaders(self) -> tuple[Any, Any]:
        train, val = self._given.get("train_loader"), self._given.get("val_loader")
        owner = self._datamodule if self._datamodule is not None else self.module
        if train is None:
            if not overrides(owner, "train_dataloader"):
                raise TargetError(
                    f"{type(owner).__name__} has no train_dataloader.",
                    hint="Define it, or let the target return (module, datamodule) or (module, train_loader).",
                )
            train = owner.train_dataloader()
            if val is None and overrides(owner, "val_dataloader"):
                val = owner.val_dataloader()
        if isinstance(val, (list, tuple)) and several(val):
            if len(val) > 1:
                told = f"Only the first of {len(val)} validation loaders is evaluated."
                self.warnings = tuple(dict.fromkeys((*self.warnings, told)))  # loaders may be made again
            val = val[0] if val else None
        val = val if overrides(self.module, "validation_step") else None
        return joined(self.module, train), joined(self.module, val)

    def _optimizers(self) -> Any:
        """What configure_optimizers returns, without the schedulers."""
        found = self.module.configure_optimizers()
        if found is None:
            raise TargetError(
                f"{type(self.module).__name__}.configure_optimizers returns None.",
                hint="Is a return statement missing? For an optimizer besides the module, let the target return"
                ' {"model": module, "optimizer": ...}.',
            )
        optimizers, schedulers = _split(found)
        self._trainer.schedulers = len(schedulers)
        if not optimizers or not all(isinstance(each, Optimizer) for each in optimizers):
            raise TargetError(
                f"configure_optimizers returns {type(found).__name__!r}, without an optimizer in it.",
                hint="Return an optimizer, or one of the forms that Lightning lists for it.",
            )
        if len(optimizers) > 1 and self.module.automatic_optimization:
            raise TargetError(
                f"configure_optimizers returns {len(optimizers)} optimizers, which needs manual optimization.",
                hint="Set self.automatic_optimization = False and step them in training_step, as Lightning asks for.",
            )
        self._trainer.set_optimizers(optimizers)
        if schedulers:
            names = sorted({type(each).__name__ for each in schedulers})
            are = "is" if len(names) == 1 else "are"
            self.warnings += (f"{', '.join(names)} of configure_optimizers {are} left out: lrscout sets the rates.",)
            self._kept = [] if self._trainer.was_asked_for_length else schedulers
        return optimizers if len(optimizers) > 1 else optimizers[0]

    @contextmanager
    def open(self, workload: Workload, device: torch.device, accumulate: int = 1) -> Iterator[None]:
        """Stand in for the Trainer, and begin a fit."""
        self._trainer.begin(workload.train_loader, accumulate)  # of a rank's share, for example
        self._transfers = transfer_hooks(self.module, self._datamodule, device)
        with in_place_of_trainer(self._trainer):
            for hook in ("on_fit_start", "on_train_start", "on_train_epoch_start"):
                getattr(self.module, hook)()
            yield

    def step(self, batch: Any) -> Any:
        """The loss of training_step."""
        batch = self._transferred(batch)
        trainer, module = self._trainer, self.module
        trainer.logged.clear()
        self._batch = batch
        index = (batch, trainer.batch_index) if self._takes_index else (batch,)
        module.on_train_batch_start(batch, trainer.batch_index)
        self._output = module.training_step(*index)
        name, manual = f"{type(module).__name__}.training_step", not module.automatic_optimization
        return training_loss(self._output, trainer.logged, name, manual)

    def val_step(self, batch: Any) -> Any:
        """The loss of validation_step."""
        module, logged = self.module, self._trainer.logged
        logged.clear()
        given = (self._transferred(batch), 0, 0)  # with the numbers of the batch and of the loader
        count = next((count for count in (2, 1, 3) if _takes(module.validation_step, count)), 2)
        with self._trainer.validation():
            if overrides(module, "on_validation_model_eval") and not module.training:
                module.on_validation_model_eval()  # which may keep a part in training mode
            output = module.validation_step(*given[:count])
        return validation_loss(output, logged, f"{type(module).__name__}.validation_step")

    def no_val_loss(self, compute: Callable[[], Any]) -> WorkloadError | None:
        """See whether validation_step returns or logs one."""
        try:
            compute()
        except NoLossError as error:
            return error
        return None

    def _transferred(self, batch: Any) -> Any:
        for hook in self._transfers:
            batch = hook(batch)
        return batch

    def backward_ended(self) -> None:
        """Only the gradients of automatic optimization are ours."""
        self.module.on_after_backward()

    def update_begins(self, optimizers: Sequence[Optimizer]) -> None:
        """Tell the module of each optimizer."""
        for optimizer in optimizers:
            self.module.on_before_optimizer_step(optimizer)

    def update_ended(self) -> None:
        """Count the step."""
        self._trainer.global_step += 1

    def batch_ended(self) -> None:
        """Count the batches, and the epochs where the loader has a length."""
        trainer, module = self._trainer, self.module
        output = {"loss": self._output.detach()} if isinstance(self._output, Tensor) else self._output or {}
        module.on_train_batch_end(output, self._batch, trainer.batch_index)
        self._batch = self._output = None
        if trainer.count_batch():
            module.on_train_epoch_end()
            trainer.current_epoch += 1
            module.on_train_epoch_start()

    def with_batch_size(self, workload: Workload, batch_size: int) -> Workload | None:
        """Set `batch_size` where the datamodule or the module has it, as Lightning's tuner does."""
        if "train_loader" in self._given:
            return None
        for owner in (self._datamodule, self.module):
            for holder in (owner, getattr(owner, "hparams", None)):
                attributes = _attributes(holder)
                before = attributes.get("batch_size")
                if not isinstance(before, int):
                    continue
                attributes["batch_size"] = batch_size
                try:
                    with in_place_of_trainer(self._trainer):
                        train_loader, val_loader = self._loaders()
                finally:
                    attributes["batch_size"] = before
                if getattr(train_loader, "batch_size", None) == batch_size:
                    self._trainer.batches = batches_in(train_loader)
                    return replace(workload, train_loader=train_loader, val_loader=val_loader)
        return None


def _split(found: Any) -> tuple[list[Any], list[Any]]:
    """The optimizers and the schedulers in any of the forms of configure_optimizers."""
    if isinstance(found, Mapping):
        found = [found]
    if isinstance(found, (list, tuple)) and len(found) == 2 and isinstance(found[0], (list, tuple)):
        optimizers, schedulers = list(found[0]), found[1]
        schedulers = list(schedulers) if isinstance(schedulers, (list, tuple)) else [schedulers]
    else:
        listed = list(found) if isinstance(found, (list, tuple)) else [found]
        optimizers = [each.get("optimizer") if isinstance(each, Mapping) else each for each in listed]
        schedulers = [each["lr_scheduler"] for each in listed if isinstance(each, Mapping) and each.get("lr_scheduler")]
    return optimizers, [each.get("scheduler") if isinstance(each, Mapping) else each for each in schedulers]


def _takes(method: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(method).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


def _attributes(holder: Any) -> Any:
    return holder if isinstance(holder, Mapping) else getattr(holder, "__dict__", {})
