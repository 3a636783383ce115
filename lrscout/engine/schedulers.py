"""One way to drive every kind of schedule: built in, of torch.optim.lr_scheduler, or of the user's own code.

A training loop calls `before_step` before each step, and `after_evaluation` where a schedule needs a metric.
"""

from __future__ import annotations

import gc
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lrscout.engine.session import ratios_of, set_rates
from lrscout.engine.target import find_target
from lrscout.errors import UsageError, WorkloadError, did_you_mean
from lrscout.results import Target
from lrscout.schedules import TORCH, ScheduleSpec, steps_of, warmed_up

USER_CODE = (
    "Your own code is a function of (step, total) that gives the multiplier of the peak rate, or one of "
    "(optimizer, total_steps) that gives a scheduler of torch's."
)
NOT_SETTINGS = ("params", "lr", "initial_lr")  # entries of a parameter group that are no setting of its optimizer

Groups = list[dict[str, Any]]


class Scheduler(Protocol):
    """Sets the rates of all parameter groups, and their momentum where the schedule has one."""

    needs_metric: bool

    def before_step(self, step: int) -> float:
        """Set what holds for this step, counted from 0; returns the largest group's rate."""

    def after_evaluation(self, metric: float) -> None:
        """Take in an evaluation, smaller being better."""


def make_scheduler(
    spec: ScheduleSpec, optimizers: Sequence[Optimizer], peak: float, total: int, app_dir: str | None = None
) -> Scheduler:
    """The scheduler for a run of `total` steps; where its multiplier is 1, the largest group has the rate `peak`.

    The groups keep their ratios, except that what a user's own factory sets holds as it is.

    Raises:
        UsageError: a scheduler of torch's, or an argument, that does not exist or cannot be.
        TargetError: the path does not lead to user code.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    if spec.is_builtin:
        return _CurveScheduler(spec, groups, peak, total, spec.needs_metric, spec.momentum)
    warmup = steps_of(spec.warmup, total)
    rise = 0 if spec.has_own_warmup else warmup
    left = max(total - rise, 1)
    arguments = spec.arguments({"$total": left, "$peak": peak, "$warmup": warmup})
    stand_in = _StandIn(optimizers, groups, peak)
    if spec.name.startswith(TORCH):
        return _TorchScheduler(_of_torch(spec, stand_in, arguments), stand_in, groups, rise, keeps_ratios=True)
    found = find_target(Target(spec.name, {}, app_dir))
    if not callable(found):
        raise UsageError(f"{spec.name} is of type {type(found).__name__!r} and no function.", hint=USER_CODE)
    if not _takes_optimizer(found):
        _check_call(spec, found, (0, total), arguments)
        return _CurveScheduler(_user_curve(spec, found, arguments), groups, peak, total)
    _check_call(spec, found, (stand_in, left), arguments)
    made = found(stand_in, left, **arguments)
    if not isinstance(made, LRScheduler):
        raise UsageError(f"{spec.name} gave {made!r:.80} and no scheduler of torch's.", hint=USER_CODE)
    return _TorchScheduler(made, stand_in, groups, rise, keeps_ratios=False)


def attached_total(optimizers: Sequence[Optimizer]) -> tuple[str, int] | None:
    """The scheduler that somebody attached to one of these, and the optimizer steps that it is made for.

    None where there is none or more than one, or it does not tell: a T_max may count epochs. An optimizer does not know
    its scheduler, so this looks through what the interpreter holds, and only where a group's `initial_lr` says that
    there is one.
    """
    if not any("initial_lr" in group for optimizer in optimizers for group in optimizer.param_groups):
        return None
    attached = [
        thing
        for thing in gc.get_objects()
        if issubclass(type(thing), LRScheduler)
        and any(getattr(thing, "optimizer", None) is optimizer for optimizer in optimizers)
    ]
    if len(attached) != 1:  # a sequence of them, or one that was replaced
        return None
    total = _total_of(attached[0])
    return None if total is None else (type(attached[0]).__name__, total)


def _total_of(scheduler: LRScheduler) -> int | None:
    if isinstance(scheduler, lr_scheduler.OneCycleLR):
        return int(scheduler.total_steps)
    for function in getattr(scheduler, "lr_lambdas", ()):  # of transformers: a partial that knows its steps
        total = getattr(function, "keywords", {}).get("num_training_steps")
        if isinstance(total, int) and total > 0:
            return total
    return None


def multipliers(spec: ScheduleSpec, total: int, app_dir: str | None = None) -> list[float]:
    """The multiplier at every step, where no evaluation has anything to say."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)
    scheduler = make_scheduler(spec, [optimizer], 1.0, total, app_dir)
    return [scheduler.before_step(step) for step in range(total)]


class _CurveScheduler:
    """Sets rates by a function of (step, total, metrics)."""

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
        # a momentum of 0 is a choice, and not a place to begin a cycle
        self._with_momentum = [group for group in groups if group.get("momentum")]
        self._with_betas = [group for group in groups if group.get("betas") and group["betas"][0]]

    def before_step(self, step: int) -> float:
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
        self._metrics.append(metric)


class _StandIn(Optimizer):
    """The optimizers' groups without weights, for a scheduler to mark and patch in place of the real ones."""

    def __init__(self, optimizers: Sequence[Optimizer], groups: Groups, peak: float) -> None:
        copies = [{key: value for key, value in group.items() if key != "initial_lr"} for group in groups]
        for copy, ratio in zip(copies, ratios_of(groups)):
            copy |= {"params": [torch.zeros(1)], "lr": peak * ratio}
        super().__init__(copies, dict(optimizers[0].defaults))
        self.given = [dict(copy) for copy in self.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing: there are no weights."""


class _TorchScheduler:
    """Steps a scheduler of torch's on a stand-in, and carries over to the groups what it sets there."""

    def __init__(self, made: LRScheduler, stand_in: _StandIn, groups: Groups, warmup: int, keeps_ratios: bool) -> None:
        self.needs_metric = isinstance(made, ReduceLROnPlateau)
        self._made, self._stand_in, self._groups = made, stand_in, groups
        self._warmup, self._keeps_ratios = warmup, keeps_ratios
        self._ratios = ratios_of(groups)
        self._largest = self._ratios.index(max(self._ratios))
        self._taken = 0

    def before_step(self, step: int) -> float:
        while not self.needs_metric and self._taken < step - self._warmup:
            self._stand_in.step()  # else torch warns of the order
            self._advance()
            self._taken += 1
        copies = self._stand_in.param_groups
        rising = min((step + 1) / (self._warmup + 1), 1.0)
        rates = [rising * float(copy["lr"]) for copy in copies]
        lr = rates[self._largest] if self._keeps_ratios else max(rates)
        if self._keeps_ratios:
            set_rates(self._groups, self._ratios, lr)
        else:
            set_rates(self._groups, rates, 1.0)
        for group, copy, given in zip(self._groups, copies, self._stand_in.given):
            group |= {key: copy[key] for key in given if key not in NOT_SETTINGS and copy[key] is not given[key]}
        return lr

    def after_evaluation(self, metric: float) -> None:
        if self.needs_metric:
            self._made.step(metric)  # type: ignore[arg-type]  # ReduceLROnPlateau's own

    def _advance(self) -> None:
        try:
            self._made.step()
        except Exception as error:
            if not self._keeps_ratios:  # the user's own code
                raise
            raise UsageError(
                f"{type(self._made).__name__} failed after step {self._taken}: {error}", hint=_usage(type(self._made))
            ) from None


def _of_torch(spec: ScheduleSpec, optimizer: Optimizer, arguments: Mapping[str, Any]) -> LRScheduler:
    name = spec.name.removeprefix(TORCH)
    known = {
        name: each
        for name, each in vars(lr_scheduler).items()
        if inspect.isclass(each) and issubclass(each, LRScheduler) and each is not LRScheduler and name[0] != "_"
    }
    if name not in known:
        raise UsageError(f"torch.optim.lr_scheduler has no {name!r}.", hint=did_you_mean(name, tuple(known)))
    _check_call(spec, known[name], (optimizer,), arguments)
    try:
        return known[name](optimizer, **arguments)
    except Exception as error:  # of whatever type: its arguments are all that it has to go by
        raise UsageError(f"{spec.label}: {error}", hint=_usage(known[name])) from None


def _usage(found: Callable[..., Any]) -> str:
    return f"Its parameters are {_signature(found).replace(return_annotation=inspect.Signature.empty)}."


def _takes_optimizer(found: Callable[..., Any]) -> bool:
    """Whether user code is a factory, after its first parameter."""
    first = next(iter(_signature(found).parameters.values()), None)
    return first is not None and (first.name.startswith("opt") or "Optimizer" in str(first.annotation))


def _signature(found: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(found)
    except (TypeError, ValueError):  # built-ins without a signature
        return inspect.signature(lambda step, total, **more: None)


def _check_call(
    spec: ScheduleSpec, found: Callable[..., Any], leading: tuple[Any, ...], arguments: Mapping[str, Any]
) -> None:
    """Bind the arguments before the call, so that a TypeError inside user code stays the user's."""
    signature = _signature(found)
    try:
        signature.bind(*leading, **arguments)
    except TypeError as error:
        names = tuple(signature.parameters)[len(leading) :]
        unknown = [name for name in arguments if name not in names]
        hint = did_you_mean(unknown[0], names) if unknown else _usage(found)
        raise UsageError(f"{spec.label} cannot be called: {error}.", hint=hint) from None


def _user_curve(
    spec: ScheduleSpec, found: Callable[..., Any], arguments: Mapping[str, Any]
) -> Callable[[int, int, Sequence[float]], float]:
    """The multiplier of a user's function of (step, total)."""

    def curve(step: int, total: int) -> float:
        value = found(step, total, **arguments)
        try:
            ratio = float(value)
        except (TypeError, ValueError):
            ratio = math.nan
        if not 0 <= ratio < math.inf:
            raise WorkloadError(f"{spec.name}({step}, {total}) gave {value!r:.80} and no multiplier.", hint=USER_CODE)
        return ratio

    def multiplier(step: int, total: int, metrics: Sequence[float]) -> float:
        return curve(step, total) if spec.has_own_warmup else warmed_up(curve, step, total, warmup=spec.warmup)

    return multiplier
