"""The optimizers of a workload: its own, by name, or a new one."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lrscout.engine.workload import Workload, groups_of
from lrscout.errors import TargetError, UsageError, WorkloadError, did_you_mean
from lrscout.settings import DEFAULT_OPTIMIZER
from lrscout.settings.optimizers import ALL, chosen_numbers


@dataclass(frozen=True, slots=True)
class Optimizers:
    """All optimizers of a workload by name, and those whose rates are set."""

    all: Mapping[str, Optimizer]
    driven: tuple[str, ...]  # names; the others keep their own rates
    origin: str  # where they come from
    are_named: bool = False  # by the target

    @property
    def description(self) -> str:
        """Those that are driven, in a few words."""
        return f"{' and '.join(map(self._described, self.driven))} ({self.origin})"

    def _described(self, name: str) -> str:
        kind = type(self.all[name]).__name__
        return f"{kind} of {name!r}" if self.are_named else kind


def make_optimizers(workload: Workload, name: str | None, arguments: Mapping[str, Any]) -> Optimizers:
    """The workload's optimizers, or else a new one; `name` chooses among several.

    Raises:
        UsageError: `name` or `arguments` are given although the target has an optimizer, or are invalid.
        TargetError: the target's optimizer function does not return an optimizer.
        WorkloadError: the model has no parameter that requires grad.
    """
    if workload.optimizer is None:
        made, origin = _new_optimizer(workload.model, name, arguments)
        return Optimizers({type(made).__name__: made}, (type(made).__name__,), origin)
    own = _own_optimizers(workload)
    if arguments or (name not in (None, ALL) and len(own) == 1):
        raise UsageError(
            "The target has its own optimizer, so --optimizer and --optimizer-arg cannot be used.",
            hint="Leave out these options, or remove the optimizer from the target.",
        )
    known = [(each, type(optimizer).__name__) for each, optimizer in own.items()]
    described = [f"{_called(*names)} of {_size_of(own[names[0]]):,} parameters" for names in known]
    driven = chosen_numbers(known, described, name, "The target")
    are_named = isinstance(workload.optimizer, Mapping)
    return Optimizers(own, tuple(known[number][0] for number in driven), "the target's own", are_named)


def _called(name: str, kind: str) -> str:
    return name if name.startswith(kind) else f"{name} ({kind})"


def _size_of(optimizer: Optimizer) -> int:
    return sum(parameter.numel() for group in groups_of([optimizer]) for parameter in group["params"])


def _own_optimizers(workload: Workload) -> dict[str, Optimizer]:
    """The target's optimizers by name: the keys of a mapping, or else their classes."""
    given: Any = workload.optimizer
    by = "optimizer must be an Optimizer, or several"
    if not isinstance(given, (Optimizer, Mapping, list, tuple)):
        given, by = given(trainable(workload.model)), "optimizer function must return an Optimizer"
    if isinstance(given, Mapping):
        named = {str(name): optimizer for name, optimizer in given.items()}
    else:
        named = _by_class(given if isinstance(given, (list, tuple)) else [given])
    for optimizer in named.values():
        if not isinstance(optimizer, Optimizer):
            raise TargetError(f"The {by}, not {type(optimizer).__name__!r}.")
    if not named:
        raise TargetError("The target's list of optimizers is empty.", hint="Leave it out, and use --optimizer.")
    return named


def _by_class(optimizers: Sequence[Any]) -> dict[str, Any]:
    kinds = [type(optimizer).__name__ for optimizer in optimizers]
    counts, names = Counter(kinds), list[str]()
    for place, kind in enumerate(kinds):
        names.append(kind if counts[kind] == 1 else f"{kind} {kinds[: place + 1].count(kind)}")
    return dict(zip(names, optimizers))


def optimizer_class(name: str) -> type[Optimizer]:
    """The torch.optim class with this name, regardless of case.

    Raises:
        UsageError: torch.optim has no such optimizer.
    """
    known = {
        key.lower(): kind
        for key, kind in vars(torch.optim).items()
        if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind is not Optimizer
    }
    if name.lower() not in known:
        raise UsageError(f"torch.optim has no optimizer {name!r}.", hint=did_you_mean(name.lower(), sorted(known)))
    return known[name.lower()]


def _new_optimizer(model: nn.Module, name: str | None, arguments: Mapping[str, Any]) -> tuple[Optimizer, str]:
    kind = optimizer_class(name or DEFAULT_OPTIMIZER)
    try:
        made = kind(trainable(model), **arguments)
    except (TypeError, ValueError) as error:
        # without arguments too: Muon, for example, only accepts matrices
        hint = (
            "Check --optimizer-arg (write a list as betas=[0.9,0.95])."
            if arguments
            else "Choose another --optimizer, or create one in the target."
        )
        raise UsageError(f"torch.optim.{kind.__name__} cannot be created: {error}", hint=hint) from error
    return made, "--optimizer" if name else "default"


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that require grad.

    Raises:
        WorkloadError: there are none.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise WorkloadError("No parameter of the model requires grad.", hint="Unfreeze some with requires_grad_().")
    return parameters


def parameters_of(optimizers: Iterable[Optimizer]) -> list[Any]:
    """The parameters of the optimizers, in order."""
    return [parameter for group in groups_of(optimizers) for parameter in group["params"]]
