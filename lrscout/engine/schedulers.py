"""One interface for every kind of schedule: built-in ones, torch.optim.lr_scheduler, and user code.

A training loop calls `before_step` before each step and, if the schedule needs a metric, `after_evaluation` after each
evaluation (lrscout.search.training.Schedule). The scheduler sets the rates of all parameter groups, and their momentum
if the schedule has one.
"""

from __future__ import annotations

import gc
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lrscout.engine.rates import ratios_of, set_rates
from lrscout.engine.target import call_mismatch, find_target
from lrscout.engine.workload import groups_of
from lrscout.errors import UsageError, WorkloadError, did_you_mean
from lrscout.results import Target
from lrscout.schedules import TORCH, ScheduleSpec, steps_of, warmed_up

USER_CODE = (
    "A schedule of your own is a function of (step, total) that returns the multiplier of the peak rate, or a function "
    "of (optimizer, total_steps) that returns a torch scheduler."
)
NOT_SETTINGS = ("params", "lr", "initial_lr")  # entries of a parameter group that are not settings of its optimizer

Groups = list[dict[str, Any]]


def make_scheduler(
    spec: ScheduleSpec, optimizers: Sequence[Optimizer], peak: float, total: int, app_dir: str | None = None
) -> CurveScheduler | TorchScheduler:
    """The scheduler for a run of `total` steps; if the multiplier is 1, the group with the largest rate has `peak`.

    The groups keep the ratios of their rates, except with a factory in user code, whose rates are used unchanged.

    Raises:
        UsageError: the torch scheduler or an argument does not exist or is invalid, or user code is not a function.
        TargetError: the path does not name any user code.
    """
    groups = groups_of(optimizers)
    if spec.is_builtin:
        return CurveScheduler(spec, groups, peak, total, spec.needs_metric, spec.momentum)
    warmup = steps_of(spec.warmup, total)
    added_warmup = 0 if spec.has_own_warmup else warmup
    remaining = max(total - added_warmup, 1)
    arguments = spec.arguments({"$total": remaining, "$peak": peak, "$warmup": warmup})
    stand_in = _StandIn(optimizers, groups, peak)
    if spec.name.startswith(TORCH):
        scheduler = _make_torch_scheduler(spec, stand_in, arguments)
        return TorchScheduler(scheduler, stand_in, groups, added_warmup, keeps_ratios=True)
    function = find_target(Target(spec.name, {}, app_dir))
    if not callable(function):
        raise UsageError(f"{spec.name} must be a function, not {type(function).__name__!r}.", hint=USER_CODE)
    if not _takes_optimizer(function):
        _check_call(spec, function, (0, total), arguments)
        return CurveScheduler(_user_curve(spec, function, arguments), groups, peak, total)
    _check_call(spec, function, (stand_in, remaining), arguments)
    scheduler = function(stand_in, remaining, **arguments)
    if not isinstance(scheduler, LRScheduler):
        raise UsageError(f"{spec.name} must return a torch scheduler, not {scheduler!r:.80}.", hint=USER_CODE)
    return TorchScheduler(scheduler, stand_in, groups, added_warmup, keeps_ratios=False)


def attached_total(optimizers: Sequence[Optimizer]) -> tuple[str, int] | None:
    """The name of the scheduler attached to one of the optimizers, and the number of optimizer steps it is set up for.

    None if there is no scheduler or more than one, or if its length is unknown: a T_max may count epochs. An optimizer
    has no reference to its scheduler, so this searches all objects of the interpreter, but only if a group has an
    `initial_lr`, which schedulers set.
    """
    if not any("initial_lr" in group for group in groups_of(optimizers)):
        return None
    attached = [
        each
        for each in gc.get_objects()
        if issubclass(type(each), LRScheduler)
        and any(getattr(each, "optimizer", None) is optimizer for optimizer in optimizers)
    ]
    if len(attached) != 1:  # a sequence of schedulers, or one that was replaced
        return None
    total = _total_of(attached[0])
    return None if total is None else (type(attached[0]).__name__, total)


def _total_of(scheduler: LRScheduler) -> int | None:
    if isinstance(scheduler, lr_scheduler.OneCycleLR):
        return int(scheduler.total_steps)
    for function in getattr(scheduler, "lr_lambdas", ()):  # from transformers: a partial with the number of steps
        total = getattr(function, "keywords", {}).get("num_training_steps")
        if isinstance(total, int) and total > 0:
            return total
    return None


def multipliers(spec: ScheduleSpec, total: int, app_dir: str | None = None) -> list[float]:
    """The multiplier at every step of a run without evaluations.

    Raises:
        WorkloadError: user code does not return a multiplier; and see `make_scheduler`.
    """
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)
    scheduler = make_scheduler(spec, [optimizer], 1.0, total, app_dir)
    return [scheduler.before_step(step) for step in range(total)]


class CurveScheduler:
    """Sets the rates to `peak` times a function of (step, total, metrics)."""

    def __init__(
        self,
        multiplier: Callable[[int, int, Sequence[float]], float],
        groups: Groups,
        peak: float,
        total: int,
        needs_metric: bool = False,
        momentum: Callable[[int, int], float | None] = lambda step, total: None,
    ) -> None:
        self.needs_metric = needs_metric
        self._multiplier, self._momentum = multiplier, momentum
        self._groups, self._ratios = groups, ratios_of(groups)
        self._peak, self._total = peak, total
        self._metrics: list[float] = []
        # a momentum of 0 is deliberate, so it does not follow the schedule
        self._with_momentum = [group for group in groups if group.get("momentum")]
        self._with_betas = [group for group in groups if group.get("betas") and group["betas"][0]]

    def before_step(self, step: int) -> float:
        """Set the rates and the momentum for this step, counted from 0; return the largest rate."""
        lr = self._peak * self._multiplier(step, self._total, self._metrics)
        set_rates(self._groups, self._ratios, lr)
        momentum = self._momentum(step, self._total)
        if momentum is not None:
            for group in self._with_momentum:
                group["momentum"] = momentum
            for group in self._with_betas:
                first, *others = group["betas"]
                group["betas"] = (torch.full_like(first, momentum) if isinstance(first, Tensor) else momentum, *others)
        return lr

    def after_evaluation(self, metric: float) -> None:
        """Record a metric, where smaller is better."""
        self._metrics.append(metric)


class _StandIn(Optimizer):
    """An optimizer with the same groups but without weights, which a scheduler can modify instead of the real ones."""

    def __init__(self, optimizers: Sequence[Optimizer], groups: Groups, peak: float) -> None:
        copies = [{key: value for key, value in group.items() if key != "initial_lr"} for group in groups]
        for copy, ratio in zip(copies, ratios_of(groups)):
            copy |= {"params": [torch.zeros(1)], "lr": peak * ratio}
        super().__init__(copies, dict(optimizers[0].defaults))
        self.initial = [dict(copy) for copy in self.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing, as there are no weights."""


class TorchScheduler:
    """Steps a torch scheduler on a stand-in optimizer, and copies the settings that it changes to the real groups."""

    def __init__(
        self, scheduler: LRScheduler, stand_in: _StandIn, groups: Groups, warmup: int, keeps_ratios: bool
    ) -> None:
        self.needs_metric = isinstance(scheduler, ReduceLROnPlateau)
        self._scheduler, self._stand_in, self._groups = scheduler, stand_in, groups
        self._warmup, self._keeps_ratios = warmup, keeps_ratios
        self._ratios = ratios_of(groups)
        self._largest = self._ratios.index(max(self._ratios))
        self._taken = 0

    def before_step(self, step: int) -> float:
        """Set the rates and other settings for this step, counted from 0; return the largest rate."""
        while not self.needs_metric and self._taken < step - self._warmup:
            self._stand_in.step()  # otherwise, torch warns about the order of the calls
            self._advance()
            self._taken += 1
        copies = self._stand_in.param_groups
        warmup_factor = min((step + 1) / (self._warmup + 1), 1.0)
        rates = [warmup_factor * float(copy["lr"]) for copy in copies]
        odd = [rate for rate in rates if not math.isfinite(rate)]
        if odd:
            kind = type(self._scheduler)
            raise UsageError(f"{kind.__name__} gives a rate of {odd[0]} at step {step}.", hint=_parameters_hint(kind))
        lr = rates[self._largest] if self._keeps_ratios else max(rates)
        if self._keeps_ratios:
            set_rates(self._groups, self._ratios, lr)
        else:
            set_rates(self._groups, rates, 1.0)
        for group, copy, initial in zip(self._groups, copies, self._stand_in.initial):
            group |= {key: copy[key] for key in initial if key not in NOT_SETTINGS and copy[key] is not initial[key]}
        return lr

    def after_evaluation(self, metric: float) -> None:
        """Record a metric, where smaller is better."""
        if self.needs_metric:
            self._scheduler.step(metric)  # type: ignore[arg-type]  # ReduceLROnPlateau takes a metric

    def _advance(self) -> None:
        try:
            self._scheduler.step()
        except Exception as error:
            if not self._keeps_ratios:  # created by user code
                raise
            kind = type(self._scheduler)
            message = f"{kind.__name__} failed after step {self._taken}: {error}"
            raise UsageError(message, hint=_parameters_hint(kind)) from None


def _make_torch_scheduler(spec: ScheduleSpec, optimizer: Optimizer, arguments: Mapping[str, Any]) -> LRScheduler:
    name = spec.name.removeprefix(TORCH)
    known = {
        name: each
        for name, each in vars(lr_scheduler).items()
        if inspect.isclass(each) and issubclass(each, LRScheduler) and each is not LRScheduler and name[0] != "_"
    }
    if name not in known:
        raise UsageError(f"torch.optim.lr_scheduler has no scheduler {name!r}.", hint=did_you_mean(name, tuple(known)))
    _check_call(spec, known[name], (optimizer,), arguments)
    try:
        return known[name](optimizer, **arguments)
    except Exception as error:  # of any type: only the arguments can be at fault
        raise UsageError(f"{spec.label}: {error}", hint=_parameters_hint(known[name])) from None


def _parameters_hint(function: Callable[..., Any]) -> str:
    return f"Its parameters are {_signature(function).replace(return_annotation=inspect.Signature.empty)}."


def _takes_optimizer(function: Callable[..., Any]) -> bool:
    """Whether user code is a factory of schedulers, judging by its first parameter."""
    first = next(iter(_signature(function).parameters.values()), None)
    return first is not None and (first.name.startswith("opt") or "Optimizer" in str(first.annotation))


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # built-ins without a signature
        return inspect.signature(lambda step, total, **more: None)


def _check_call(
    spec: ScheduleSpec, function: Callable[..., Any], positional: tuple[Any, ...], arguments: Mapping[str, Any]
) -> None:
    mismatch = call_mismatch(_signature(function), positional, arguments)
    if mismatch is not None:
        reason, hint = mismatch
        raise UsageError(f"{spec.label} cannot be called: {reason}.", hint=hint or _parameters_hint(function))


def _user_curve(
    spec: ScheduleSpec, function: Callable[..., Any], arguments: Mapping[str, Any]
) -> Callable[[int, int, Sequence[float]], float]:
    """The multiplier that a user's function of (step, total) returns, checked and with the warmup added."""

    def curve(step: int, total: int) -> float:
        value = function(step, total, **arguments)
        try:
            ratio = float(value)
        except (TypeError, ValueError):
            ratio = math.nan
        if not 0 <= ratio < math.inf:
            message = f"{spec.name}({step}, {total}) must return a finite number >= 0, not {value!r:.80}."
            raise WorkloadError(message, hint=USER_CODE)
        return ratio

    def multiplier(step: int, total: int, metrics: Sequence[float]) -> float:
        return curve(step, total) if spec.has_own_warmup else warmed_up(curve, step, total, warmup=spec.warmup)

    return multiplier
