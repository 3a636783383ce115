"""A training step and its loss: learning rates of the groups, precision, accumulation, clipping."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrscout.engine.batches import Batches, to_device
from lrscout.engine.checks import (
    check_gradients,
    check_model,
    check_no_gradients,
    check_optimizers,
    check_steps,
    needs_closure,
    steps_twice,
)
from lrscout.engine.devices import autocast, move_optimizer_state, resolve_device, spans_devices
from lrscout.engine.losses import Losses, backward, detached_loss, loss_of, losses_in, total_of, val_loss_of
from lrscout.engine.modes import backend_flags, compiled, eval_mode
from lrscout.engine.optimizers import make_optimizers, parameters_of
from lrscout.engine.pending import PENDING_LIMIT, PendingLoss
from lrscout.engine.randomness import seed_everything
from lrscout.engine.rates import own_rates, ratios_of, set_rates
from lrscout.engine.state import preserved, reachable
from lrscout.engine.workload import Workload, groups_of, own_clipping
from lrscout.errors import UsageError, WorkloadError
from lrscout.settings import SessionSettings


class Session:
    """A workload that can take training steps, inside `with session.open():`, which restores all its state on exit.

    `step` and `losses` are the interface that a sweep needs (lrscout.search.range_test.SweepSession).
    """

    def __init__(self, workload: Workload, settings: SessionSettings, val_batches: int = 0) -> None:
        settings = settings.with_own(workload.host.settings)
        self.precision, self.accumulate = settings.precision or "fp32", settings.accumulate or 1
        check_model(workload.model, self.precision)
        self.workload = workload
        self.settings = settings
        self._host = workload.host
        self.device = resolve_device(settings.device, workload)
        self.named = make_optimizers(workload, settings.optimizer, settings.optimizer_arg)
        self.optimizers: tuple[Optimizer, ...] = tuple(self.named.all.values())
        self.driven = tuple(self.named.all[name] for name in self.named.driven)  # whose rates are set
        check_optimizers(self.optimizers)
        check_steps(workload, self.optimizers, settings)
        self._val_batches = val_batches
        self._groups = groups_of(self.driven)
        self._ratios = ratios_of(self._groups)
        self._loss_of, self._val_loss_of = loss_of(workload), val_loss_of(workload)
        self.by_closure = not workload.manual and any(map(needs_closure, self.optimizers))
        self.autocast = autocast(self.device, self.precision)
        self._scaler = torch.amp.GradScaler(self.device.type) if self.precision == "fp16" else None
        self._skipped: Tensor | int = 0
        self._moves = self.device.type != "cpu" or any(p.device.type != "cpu" for p in workload.model.parameters())
        order = {id(parameter): place for place, parameter in enumerate(workload.model.parameters())}
        # clipping adds their squares up, and whoever does it gives it model.parameters()
        self._parameters = sorted(parameters_of(self.optimizers), key=lambda each: order.get(id(each), len(order)))
        self._clipped = self._host.clipped(self._parameters)
        self._overrides_zero_grad = [o for o in self.optimizers if type(o).zero_grad is not Optimizer.zero_grad]
        self._pending: deque[PendingLoss] = deque()
        self._held_out: list[Any] = []
        self._held_out_given = val_batches
        self.on_batch: list[Callable[[Any], None]] = []  # called with every batch before its step
        self.on_closure: list[Callable[[Optimizer], None]] = []  # called with the gradients that a closure starts from
        self.has_losses_apart = False  # whether each optimizer has a loss of its own, as far as steps have shown
        self._has_gradients = False  # whether any parameter of the optimizers has received a gradient

    @contextmanager
    def open(self, preserve: bool = True) -> Iterator[Session]:
        """Seed, move to the device and start the batches; on exit, restore everything that was touched.

        With `preserve=False`, the workload is not restored, which saves the memory of a copy.
        """
        workload, settings = self.workload, self.settings
        optimizers = reachable(Optimizer, *self.optimizers, workload.step)
        loaders = [loader for loader in (workload.train_loader, workload.val_loader) if loader is not None]
        with ExitStack() as stack:
            if preserve:
                stack.enter_context(preserved(self.modules, optimizers, loaders))
            stack.enter_context(backend_flags(settings.deterministic, settings.cudnn_benchmark))
            if settings.compile:
                stack.enter_context(compiled(workload.model))
            seed_everything(settings.seed)
            self._to_device()
            others = groups_of(each for each in self.optimizers if each not in self.driven)
            set_rates(others, own_rates(others), 1.0)  # a scheduler may have set others
            if not workload.model.training:
                workload.model.train()  # otherwise keep the modes: a frozen submodule may be in eval mode
            if self._val_batches:
                self._held_out = self._take_held_out()
            stack.enter_context(self._host.open(workload, self.device, self.accumulate))
            self._batches = Batches(workload.train_loader)
            stack.callback(self._close)
            yield self

    def _close(self) -> None:
        self._batches.close()
        self._pending.clear()
        self._held_out.clear()

    @property
    def modules(self) -> list[torch.nn.Module]:
        """The modules that a step may change, with all below them."""
        workload = self.workload
        return reachable(torch.nn.Module, workload.model, workload.loss_fn, workload.step, workload.val_step)

    @property
    def skipped_steps(self) -> int:
        """The number of steps that the gradient scaler skipped because a gradient was not finite."""
        return int(self._skipped)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the settings and the steps so far."""
        messages = [*self._host.warnings]
        if self.skipped_steps:
            messages.append(f"The gradient scaler skipped {self.skipped_steps} steps because gradients overflowed.")
        clipping = own_clipping(self.workload)
        if clipping is not None and self.settings.clip_norm is None and self.settings.clip_value is None:
            name, value = clipping
            messages.append(
                f"The target's own {name} of {value:g} is not applied here: --clip-norm {value:g} clips alike."
            )
        if "lr" in self.settings.optimizer_arg:
            messages.append("--optimizer-arg lr has no effect, because every step sets the learning rate.")
        if self._held_out_given < self._val_batches:
            given, requested = self._held_out_given, self._val_batches
            messages.append(f"The val_loader has only {given} of the {requested} batches that --val-batches requests.")
        return tuple(messages)

    @property
    def own_lr(self) -> float:
        """The largest learning rate that the optimizers are configured with."""
        return max(own_rates(self._groups))

    def group_lrs(self, lr: float) -> tuple[float, ...]:
        """The rate of every parameter group, in order, if the largest is `lr`."""
        return tuple(lr * ratio for ratio in self._ratios)

    def set_lr(self, lr: float) -> None:
        """Set the largest rate to `lr`, and those of all other groups in proportion."""
        set_rates(self._groups, self._ratios, lr)

    def step(self, lr: float | None = None) -> None:
        """Take one optimizer step at rate `lr`, or at the current rates if None; `losses` returns its loss."""
        if lr is not None:
            self.set_lr(lr)
        loss = self.train_step()
        self._pending.append(PendingLoss(self.evaluate() if self._held_out else loss))

    def losses(self, wait: bool = False) -> list[float]:
        """The losses that have arrived since the last call, in order; with `wait`, all that are outstanding."""
        ready = []
        if len(self._pending) > PENDING_LIMIT and not self._pending[0].can_wait_alone:
            wait = True  # if the first cannot be waited for without the later ones, fetch all at once
        while self._pending and (wait or len(self._pending) > PENDING_LIMIT or self._pending[0].arrived()):
            ready.append(self._pending.popleft().value())
        return ready

    def train_step(self) -> Tensor:
        """Accumulate over the micro-batches and step the optimizers; return the mean loss, () on the device."""
        if self.workload.manual:
            return self._manual_step()
        batches = self._host.gathered(self._micro_batches(), self.device)
        if self.by_closure:
            return self._closure_step(list(batches))
        loss = self._add_gradients(batches)
        self._update()
        self._host.update_ended()
        self._host.batch_ended()
        return loss

    def _micro_batches(self) -> Iterator[Any]:
        for _ in range(self.accumulate):
            batch = next(self._batches)
            for listen in tuple(self.on_batch):  # which may end that
                listen(batch)
            yield to_device(batch, self.device) if self._moves else batch

    def _add_gradients(self, batches: Iterable[Any], again: bool = False) -> Tensor:
        """Set the gradients to the mean over the micro-batches, maybe seen before; return their mean loss."""
        for parameter in self._parameters:  # like Optimizer.zero_grad, but without its profiler hook (15 us)
            parameter.grad = None
        for optimizer in self._overrides_zero_grad:
            optimizer.zero_grad()
        total = None
        for batch in batches:
            if total is not None and not again:
                self._host.batch_ended()
            losses = self._losses(self._loss_of, batch)
            for loss in losses.values():
                if not loss.requires_grad:
                    raise detached_loss(loss)
            count = 1 if self._host.divides else self.accumulate
            self._backward(losses if count == 1 else {name: loss / count for name, loss in losses.items()})
            self._host.backward_ended()
            counted = self._counted(losses).detach()
            total = counted if total is None else total + counted
        assert total is not None
        return total if count == 1 else total / count

    def _backward(self, losses: Losses) -> None:
        if self._scaler is not None:
            losses = {name: self._scaler.scale(loss) for name, loss in losses.items()}
        if not self._has_gradients:
            check_no_gradients(self._parameters)
        backward(losses, self.named.all)
        if not self._has_gradients:
            check_gradients(self._parameters)
            self._has_gradients = True

    def _closure_step(self, batches: Sequence[Any]) -> Tensor:
        """Step an optimizer that evaluates the loss itself, on the same batches each time; return the first loss."""
        optimizer: Any = self.optimizers[0]  # Any: SAM's steps are not those of torch
        losses: list[Tensor] = []

        def closure() -> Tensor:
            losses.append(self._add_gradients(batches, again=bool(losses)))
            self._host.update_begins(self.optimizers)
            self._clip()
            for listen in self.on_closure if len(losses) == 1 else ():
                listen(optimizer)
            return losses[-1]

        if steps_twice(optimizer):
            closure()
            optimizer.first_step(zero_grad=True)
            closure()
            optimizer.second_step(zero_grad=False)
        else:
            optimizer.step(closure)
        self._host.update_ended()
        self._host.batch_ended()
        return losses[0]

    def _manual_step(self) -> Tensor:
        """Let the target's step train."""
        (batch,) = self._micro_batches()
        if self._has_gradients:
            loss = self._counted(self._losses(self._loss_of, batch)).detach()
            self._host.batch_ended()
            return loss
        stepped: list[Optimizer] = []
        hooks = [each.register_step_pre_hook(lambda *given: stepped.append(given[0])) for each in self.optimizers]
        try:
            losses = self._losses(self._loss_of, batch)
        finally:
            for hook in hooks:
                hook.remove()
        if not stepped:
            raise WorkloadError(
                "The target is manual, but its step has not stepped any of its optimizers.",
                hint="Call backward() and optimizer.step() in it, with the optimizers that the target returns.",
            )
        self._has_gradients = True
        self._host.batch_ended()
        return self._counted(losses).detach()

    @torch.no_grad()
    def evaluate(self, batches: Sequence[Any] | None = None) -> Tensor:
        """The mean loss of batches on the device, by default the held-out ones, in eval mode; () on the device."""
        with eval_mode(self.workload.model):
            losses = [self.held_out_loss(batch) for batch in (self._held_out if batches is None else batches)]
            return torch.stack(losses).mean()

    def loss(self, batch: Any) -> Tensor:
        """The training loss of a batch on the device, with the model in its current mode; () on the device."""
        if self.workload.manual:
            raise WorkloadError(
                "The loss of a batch cannot be told without training on it, since the target's step is manual.",
                hint="Leave manual out and return the loss, or the losses, for lrscout to call backward.",
            )
        (given,) = self._host.gathered([batch], self.device)
        return self._counted(self._losses(self._loss_of, given))

    def held_out_loss(self, batch: Any) -> Tensor:
        """The loss of a batch that is not trained on, in single precision or higher; () on the device."""
        return self._counted(self._losses(self._val_loss_of, batch)).float()

    def _losses(self, compute: Callable[[Any], Any], batch: Any) -> Losses:
        with self.autocast:
            losses = losses_in(compute(batch), self.named)
        self.has_losses_apart |= len(losses) > 1
        return losses

    def _counted(self, losses: Losses) -> Tensor:
        return total_of(losses, self.named.driven)

    def _update(self) -> None:
        """Unscale, clip, and step the optimizers."""
        settings, scaler = self.settings, self._scaler
        if scaler is not None and (settings.clip_norm is not None or settings.clip_value is not None):
            for optimizer in self.optimizers:
                scaler.unscale_(optimizer)
        self._host.update_begins(self.optimizers)
        self._clip()
        if scaler is None:
            for optimizer in self.optimizers:
                optimizer.step()
            return
        one = torch.ones((), device=self.device)
        for optimizer in self.optimizers:
            scaler.step(optimizer)
        scale = scaler.scale(one)  # unlike get_scale(), this does not wait for the device
        scaler.update()
        self._skipped = self._skipped + (scaler.scale(one) < scale).long()

    def _clip(self) -> None:
        if self.settings.clip_value is not None:
            torch.nn.utils.clip_grad_value_(self._clipped, self.settings.clip_value)
        if self.settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._clipped, self.settings.clip_norm)

    def _to_device(self) -> None:
        if not self._moves or spans_devices(self.workload):
            return
        self.workload.model.to(self.device)
        if isinstance(self.workload.loss_fn, torch.nn.Module):  # a loss may hold class weights
            self.workload.loss_fn.to(self.device)
        for optimizer in self.optimizers:
            move_optimizer_state(optimizer)

    def _take_held_out(self) -> list[Any]:
        if self.workload.val_loader is None:
            raise UsageError(
                "--val-batches requires held-out data, but the target has no val_loader.",
                hint="Add a val_loader to the target, or leave out --val-batches.",
            )
        batches = list(islice(self.workload.val_loader, self._val_batches))
        if not batches:
            raise WorkloadError("The val_loader is empty.", hint="Check its dataset, or leave out --val-batches.")
        self._held_out_given = len(batches)
        return [to_device(batch, self.device) if self._moves else batch for batch in batches]
