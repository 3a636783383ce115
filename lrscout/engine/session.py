"""One training step: rates of the parameter groups, precision, accumulation, clipping, and the loss it had."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrscout.engine.batches import Batches, to_device
from lrscout.engine.devices import is_spread, move_state, resolve_device
from lrscout.engine.randomness import seed_everything
from lrscout.engine.state import backend_flags, eval_mode, held, preserved
from lrscout.engine.workload import Workload, loss_of, make_optimizer
from lrscout.errors import UsageError, WorkloadError
from lrscout.settings import SessionSettings

PENDING_LIMIT = 16  # steps that the host may run ahead of the device before it waits for a loss
AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Session:
    """A workload that can be stepped, for use inside `with session.open():`, which puts all its state back.

    `step` and `losses` make it the session of a sweep (lrscout.search.range_test.SweepSession).
    """

    def __init__(self, workload: Workload, settings: SessionSettings, val_batches: int = 0) -> None:
        _refuse_model(workload.model, settings.precision)
        self.workload = workload
        self.settings = settings
        self.device = resolve_device(settings.device, workload)
        optimizer, self.optimizer_name = make_optimizer(workload, settings.optimizer, settings.optimizer_arg)
        self.optimizers: tuple[Optimizer, ...] = (optimizer,)
        _refuse_optimizers(self.optimizers)
        self._val_batches = val_batches
        self._groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        self._ratios = ratios_of(self._groups)
        self._loss_of = loss_of(workload)
        self.autocast = _autocast(self.device, settings.precision)
        self._scaler = torch.amp.GradScaler(self.device.type) if settings.precision == "fp16" else None
        self._skipped: Tensor | int = 0
        self._moves = self.device.type != "cpu" or any(p.device.type != "cpu" for p in workload.model.parameters())
        self._parameters = [parameter for group in self._groups for parameter in group["params"]]
        self._with_own_zero_grad = [o for o in self.optimizers if type(o).zero_grad is not Optimizer.zero_grad]
        self._pending: deque[_PendingLoss] = deque()
        self._held_out: list[Any] = []
        self._held_out_given = val_batches
        self.on_batch: Callable[[Any], None] | None = None  # sees every batch before its step
        self._learns = False  # whether a gradient has reached the optimizers

    @contextmanager
    def open(self, preserve: bool = True) -> Iterator[Session]:
        """Seed, move to the device and start the batches; on leaving, put back everything that was touched.

        `preserve` False is for a workload that nobody needs afterwards: its copy would take memory of its own.
        """
        workload, settings = self.workload, self.settings
        parts = (workload.model, workload.loss_fn, workload.step)
        optimizers = held(Optimizer, *self.optimizers, workload.step)
        loaders = [loader for loader in (workload.train_loader, workload.val_loader) if loader is not None]
        with ExitStack() as stack:
            if preserve:
                stack.enter_context(preserved(held(torch.nn.Module, *parts), optimizers, loaders))
            stack.enter_context(backend_flags(settings.deterministic, settings.cudnn_benchmark))
            if settings.compile:
                stack.enter_context(_compiled(workload.model))
            seed_everything(settings.seed)
            self._to_device()
            if not workload.model.training:
                workload.model.train()  # else every submodule keeps its own mode: a frozen body may be in eval mode
            if self._val_batches:
                self._held_out = self._take_held_out()
            self._batches = Batches(workload.train_loader)
            stack.callback(self._close)
            yield self

    def _close(self) -> None:
        self._batches.close()
        self._pending.clear()
        self._held_out.clear()

    @property
    def skipped_steps(self) -> int:
        """The steps that the gradient scaler left out, for a gradient that was not finite."""
        return int(self._skipped)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is worth knowing about the steps that were taken."""
        found = []
        if self.skipped_steps:
            found.append(f"The gradient scaler skipped {self.skipped_steps} steps, whose gradients overflowed.")
        if "lr" in self.settings.optimizer_arg:
            found.append("The learning rate is what is searched, so --optimizer-arg lr has no effect.")
        if self._held_out_given < self._val_batches:
            found.append(f"The val_loader gave {self._held_out_given} of the {self._val_batches} --val-batches.")
        return tuple(found)

    @property
    def own_lr(self) -> float:
        """The largest of the rates that the optimizers came with."""
        return max(own_rates(self._groups))

    def group_lrs(self, lr: float) -> tuple[float, ...]:
        """Every parameter group's rate, in the optimizers' order, where the largest is `lr`."""
        return tuple(lr * ratio for ratio in self._ratios)

    def set_lr(self, lr: float) -> None:
        """Set the rates of all groups, which keep their ratios; the largest becomes `lr`."""
        set_rates(self._groups, self._ratios, lr)

    def step(self, lr: float | None = None) -> None:
        """Take one optimizer step at this rate, or at the rates that are set; its loss comes from `losses`."""
        if lr is not None:
            self.set_lr(lr)
        loss = self.train_step()
        self._pending.append(_PendingLoss(self.evaluate() if self._held_out else loss))

    def losses(self, wait: bool = False) -> list[float]:
        """The losses that arrived since the last call, in order; with `wait`, all of them."""
        ready = []
        if len(self._pending) > PENDING_LIMIT and not self._pending[0].can_wait_alone:
            wait = True  # where one loss cannot be waited for without the later ones, take them all at once
        while self._pending and (wait or len(self._pending) > PENDING_LIMIT or self._pending[0].arrived()):
            ready.append(self._pending.popleft().value())
        return ready

    def train_step(self) -> Tensor:
        """Forward and backward over the micro-batches, then the optimizers; returns the mean loss, () on the device."""
        count = self.settings.accumulate
        for parameter in self._parameters:  # what torch's zero_grad does, without its profiler's hook (15 us)
            parameter.grad = None
        for optimizer in self._with_own_zero_grad:
            optimizer.zero_grad()
        total = None
        for _ in range(count):
            batch = next(self._batches)
            if self.on_batch is not None:
                self.on_batch(batch)
            if self._moves:
                batch = to_device(batch, self.device)
            loss = self.loss(batch)
            if not loss.requires_grad:
                raise WorkloadError(
                    "The loss does not depend on any parameter that wants a gradient.",
                    hint="Look for .detach(), torch.no_grad() or a frozen model.",
                )
            self._backward(loss if count == 1 else loss / count)
            total = loss.detach() if total is None else total + loss.detach()
        self._update()
        assert total is not None
        return total if count == 1 else total / count

    def _backward(self, loss: Tensor) -> None:
        scaled = loss if self._scaler is None else self._scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]
        if not self._learns:
            self._refuse_untrained()

    @torch.no_grad()
    def evaluate(self, batches: Sequence[Any] | None = None) -> Tensor:
        """The mean loss of batches on the device, by default the held-out ones, in eval mode; () on the device."""
        with eval_mode(self.workload.model):
            found = [self.loss(batch).float() for batch in (self._held_out if batches is None else batches)]
            return torch.stack(found).mean()

    def loss(self, batch: Any) -> Tensor:
        """The loss of a batch on the device, () there, with the model in the mode that it is in."""
        with self.autocast:
            return scalar(self._loss_of(batch))

    def _update(self) -> None:
        """Unscale, clip, and step the optimizers."""
        settings, scaler = self.settings, self._scaler
        if scaler is not None and (settings.clip_norm is not None or settings.clip_value is not None):
            for optimizer in self.optimizers:
                scaler.unscale_(optimizer)
        if settings.clip_value is not None:
            torch.nn.utils.clip_grad_value_(self._parameters, settings.clip_value)
        if settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, settings.clip_norm)
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

    def _refuse_untrained(self) -> None:
        if all(parameter.grad is None for parameter in self._parameters):
            raise WorkloadError(
                "The loss gives no gradient to any parameter of the optimizer.",
                hint="Make the optimizer from this model's own parameters.",
            )
        self._learns = True

    def _to_device(self) -> None:
        if not self._moves or is_spread(self.workload):
            return
        self.workload.model.to(self.device)
        if isinstance(self.workload.loss_fn, torch.nn.Module):  # a loss may hold class weights
            self.workload.loss_fn.to(self.device)
        for optimizer in self.optimizers:
            move_state(optimizer)

    def _take_held_out(self) -> list[Any]:
        if self.workload.val_loader is None:
            raise UsageError(
                "--val-batches needs held-out data, and the target has no val_loader.",
                hint="Give the target a val_loader, or leave --val-batches out.",
            )
        batches = list(islice(self.workload.val_loader, self._val_batches))
        if not batches:
            raise WorkloadError("The val_loader is empty: it gives no batch.")
        self._held_out_given = len(batches)
        return [to_device(batch, self.device) if self._moves else batch for batch in batches]


class _PendingLoss:
    """A loss on its way to the host. The host does not wait for the device until the value is asked for."""

    def __init__(self, loss: Tensor) -> None:
        self._event: Any = None  # a torch.cuda.Event, which torch leaves untyped
        self._loss = loss
        if loss.is_cuda:
            self._loss = torch.empty((), dtype=loss.dtype, pin_memory=True)
            self._loss.copy_(loss, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(loss.device))

    @property
    def can_wait_alone(self) -> bool:
        return self._event is not None

    def arrived(self) -> bool:
        if self._event is not None:
            return bool(self._event.query())
        return self._loss.device.type == "cpu"

    def value(self) -> float:
        if self._event is not None:
            self._event.synchronize()
        return self._loss.item()


def scalar(loss: Any, name: str = "loss") -> Tensor:
    """The loss, or what `name` says, that the user's code gave, as a tensor of shape ().

    Raises:
        WorkloadError: it is no tensor, has several entries, or is complex.
    """
    if not isinstance(loss, Tensor):
        raise WorkloadError(
            f"The {name} is {type(loss).__name__!r} and no tensor.",
            hint="Does it end without return?" if loss is None else "Return the loss tensor itself, not its .item().",
        )
    if loss.numel() != 1:
        raise WorkloadError(
            f"The {name} has shape {tuple(loss.shape)} and is no scalar.",
            hint="Reduce it, as with .mean() or reduction='mean'.",
        )
    if loss.is_complex():
        raise WorkloadError(f"The {name} is a complex number.", hint="Return something real, as .abs() is.")
    return loss.reshape(()) if loss.dim() else loss


def own_rates(groups: Sequence[Mapping[str, Any]]) -> list[float]:
    """Every parameter group's own rate.

    An attached scheduler keeps the rate that the user set in `initial_lr`, and may hold the present one at zero.
    """
    return [float(group.get("initial_lr", group["lr"])) for group in groups]


def ratios_of(groups: Sequence[Mapping[str, Any]]) -> list[float]:
    """Every parameter group's own rate over the largest; all 1 where no group has a rate above 0."""
    rates = own_rates(groups)
    largest = max(rates, default=0.0)
    return [rate / largest for rate in rates] if largest > 0 else [1.0] * len(rates)


def set_rates(groups: Sequence[dict[str, Any]], ratios: Sequence[float], lr: float) -> None:
    """Give every parameter group its share of the rate."""
    for group, ratio in zip(groups, ratios):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr * ratio)
        else:
            group["lr"] = lr * ratio


def _refuse_model(model: torch.nn.Module, precision: str) -> None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if torch.nn.parameter.is_lazy(tensor):
            raise WorkloadError(
                f"The lazy parameter {name!r} has no shape yet.",
                hint="Run one batch through the model in build().",
            )
        if tensor.is_meta:
            raise WorkloadError(
                f"The parameter {name!r} is on the meta device and has no values.",
                hint="Load the weights in build(), or call model.to_empty() and initialise them.",
            )
        if precision == "fp16" and tensor.dtype is torch.float16 and tensor.requires_grad:
            raise UsageError(
                f"The parameter {name!r} is in fp16 already, and --precision fp16 scales gradients of fp32 weights.",
                hint="Leave the weights in fp32, or leave --precision out.",
            )


def _refuse_optimizers(optimizers: Sequence[Optimizer]) -> None:
    for optimizer in optimizers:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise UsageError(
                "LBFGS calls the loss several times a step, and lrscout's steps call it once.",
                hint="Use a first-order optimizer such as adamw or sgd.",
            )
        if any(group.get("lr") is None for group in optimizer.param_groups):
            raise UsageError(
                f"{type(optimizer).__name__} has a parameter group without a learning rate.",
                hint="Give it one (lr=...): lrscout scales what the groups have.",
            )


def _autocast(device: torch.device, precision: str) -> Any:
    if precision not in AUTOCAST_TYPES:
        return nullcontext()
    return torch.autocast(device.type, dtype=AUTOCAST_TYPES[precision])


@contextmanager
def _compiled(model: torch.nn.Module) -> Iterator[None]:
    """Compile in place, so that a step of the user's own that holds the model runs compiled too."""
    before = model._compiled_call_impl
    model.compile()
    try:
        yield
    finally:
        model._compiled_call_impl = before
