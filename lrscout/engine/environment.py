"""The environment of a run, for its record."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Iterator
from typing import Any

import torch
from torch.optim import Optimizer

import lrscout
from lrscout.engine.host import Host
from lrscout.engine.optimizers import Optimizers
from lrscout.engine.rates import own_rates
from lrscout.engine.session import Session
from lrscout.engine.workload import groups_of

PLAIN = (bool, int, float, str, tuple, type(None))  # what a record can hold and Python can be given again


def describe_environment(session: Session) -> dict[str, Any]:
    """Versions, device, optimizer and parameter groups, as plain values."""
    host = session.workload.host
    parameters = sum(p.numel() for p in session.workload.model.parameters() if p.requires_grad)
    return {
        "lrscout": lrscout.__version__,
        "torch": str(torch.__version__),  # a plain str: unpickling a TorchVersion would import torch
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(session.device),
        "device_name": _device_name(session.device),
        "threads": torch.get_num_threads(),
        "optimizer": session.named.description,
        "trainable_parameters": parameters,
        "groups": _describe_groups(session),
        **_describe_optimizers(session.named),
        **_own_settings(session),
        **_describe_framework(host),
    }


def _describe_framework(host: Host) -> dict[str, Any]:
    """The framework that takes the rate, if one does, and the class of its arguments."""
    if host.framework is None or not host.names_rate:
        return {}
    return {"framework": host.framework, **({} if host.arguments is None else {"arguments": host.arguments})}


def _own_settings(session: Session) -> dict[str, Any]:
    """The settings that the target's own trainer decided, since they were not given."""
    own = session.workload.host.settings
    used = {name: value for name, value in own.items() if getattr(session.settings, name) == value}
    return {"own_settings": used} if used else {}


def _describe_optimizers(named: Optimizers) -> dict[str, Any]:
    """The arguments of the optimizer, or of each whose rate is set where the workload has several."""
    if len(named.all) == 1 and not named.are_named:
        return {"optimizer_arguments": _arguments(next(iter(named.all.values())))}
    chosen = [named.all[name] for name in named.driven]
    return {
        "optimizers": [
            {
                "name": name if named.are_named else None,
                "class": type(each).__name__,
                "groups": len(each.param_groups),
                "arguments": _arguments(each),
            }
            for name, each in zip(named.driven, chosen)
        ]
    }


def _arguments(optimizer: Optimizer) -> dict[str, Any] | None:
    """What an optimizer was made with beside its rate, where that differs from what its class does by itself.

    None where it has arguments that its groups do not tell, as an optimizer around another one has.
    """
    declared = inspect.signature(type(optimizer)).parameters
    needed = [each for each in declared.values() if each.default is each.empty or each.kind is each.VAR_KEYWORD]
    if any(each.name not in optimizer.defaults for each in needed[1:]):  # the first are the parameters
        return None
    return {
        name: value
        for name, value in optimizer.defaults.items()
        if name != "lr" and name in declared and isinstance(value, PLAIN) and value != declared[name].default
    }


def _describe_groups(session: Session) -> list[dict[str, Any]]:
    """The name (if any), the number of parameters and the configured rate of every parameter group, in order."""
    groups = groups_of(session.driven)
    return [
        {
            "name": name,
            "parameters": sum(parameter.numel() for parameter in group["params"]),
            "lr": rate,
        }
        for group, rate, name in zip(groups, own_rates(groups), _group_names(session.named))
    ]


def _group_names(named: Optimizers) -> Iterator[str | None]:
    """The names of the groups, after those of their optimizers where there are several."""
    several = len(named.all) > 1 or named.are_named
    for name in named.driven:
        groups = named.all[name].param_groups
        for place, group in enumerate(groups):
            own = None if group.get("name") is None else str(group["name"])
            if not several:
                yield own
            else:
                yield name if len(groups) == 1 else f"{name}: {place if own is None else own}"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.machine()
