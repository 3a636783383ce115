"""Optimizers with their rates as lines to paste into a training script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lrscout.formatting import format_lr

OPTIM = "torch.optim"
NARROW = 80  # columns
KNOWN = (
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ASGD",
    "LBFGS",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "SparseAdam",
)
"""The classes of torch.optim; another one is called by its name alone."""
SET = '    group["lr"] = group["initial_lr"] = lr'


def optimizer_lines(environment: Mapping[str, Any], rates: Sequence[float]) -> list[str]:
    """An optimizer with these rates, one for each of its groups."""
    if environment.get("framework") == "transformers" and len(set(rates)) == 1:
        return [f"learning_rate={format_lr(rates[0])},  # in {arguments_of(environment)}"]
    several = environment.get("optimizers")
    if isinstance(several, (list, tuple)) and all(isinstance(each, Mapping) for each in several):
        return _lines_of_several(several, rates)
    if len(set(rates)) == 1:
        name = str(environment.get("optimizer") or "").partition(" ")[0]
        trained = f"{model_of(environment)}.parameters()" if len(rates) == 1 else "groups"
        made = _made(name, trained, rates[0], environment.get("optimizer_arguments"))
        return [f"optimizer = {made}"] if made else []
    groups = environment.get("groups") or ()
    names = [group.get("name") for group in groups if isinstance(group, Mapping)]
    told = f"  # {', '.join(map(str, names))}" if len(names) == len(rates) and all(names) else ""
    listed = ", ".join(map(format_lr, rates))
    return [f"for group, lr in zip(optimizer.param_groups, [{listed}], strict=True):{told}", SET]


def arguments_of(environment: Mapping[str, Any]) -> str:
    """What the arguments of a Trainer are called, of which some trainers have a class of their own."""
    name = str(environment.get("arguments"))
    return name if "arguments" in environment and name.isidentifier() else "TrainingArguments"


def model_of(environment: Mapping[str, Any]) -> str:
    """What the model is called where the lines go: the code of a LightningModule is its own."""
    return "self" if environment.get("framework") == "lightning" else "model"


def lines_of_each(environment: Mapping[str, Any], rates: Sequence[Sequence[float]]) -> list[str]:
    """Several optimizers with their rates, of which each has one for each of its groups; nothing for one without any.

    Those of a training command are not known well enough.
    """
    described = environment.get("optimizers")
    if not isinstance(described, (list, tuple)) or len(described) != len(rates):
        return []
    found = zip(described, rates, strict=True)
    return [line for place, (optimizer, own) in enumerate(found) for line in _lines_of_one(place, optimizer, own)]


def _lines_of_several(optimizers: Sequence[Mapping[str, Any]], rates: Sequence[float]) -> list[str]:
    """Several optimizers that share the rates, one for each group of each."""
    lines, left = [], list(rates)
    for place, optimizer in enumerate(optimizers):
        count = optimizer.get("groups") or 1
        own, left = left[:count], left[count:]
        lines += _lines_of_one(place, optimizer, own)
    return lines


def _lines_of_one(place: int, optimizer: Mapping[str, Any], rates: Sequence[float]) -> list[str]:
    """A line for one of several optimizers, or a loop if its groups differ."""
    name, count = optimizer.get("name"), len(rates)
    entry = f"optimizers[{place if name is None else json.dumps(name)}]"
    if len(set(rates)) > 1:
        listed = ", ".join(map(format_lr, rates))
        return [f"for group, lr in zip({entry}.param_groups, [{listed}], strict=True):", SET]
    is_plain = count == 1 and name is not None and name.isidentifier()
    trained = f"{name}.parameters()" if is_plain else "groups" if count > 1 else "parameters"
    made = _made(str(optimizer.get("class")), trained, rates[0], optimizer.get("arguments")) if rates else None
    return _folded(f"{entry} = {made}") if made else []


def _folded(line: str) -> list[str]:
    """A call in three lines if it is longer than most terminals are wide."""
    if len(line) < NARROW:
        return [line]
    head, _, rest = line.partition("(")
    inside, _, after = rest.rpartition(")")
    return [f"{head}(", f"    {inside}", f"){after}"]


def _made(name: str, trained: str, lr: float, arguments: Mapping[str, Any] | None) -> str | None:
    """The call of an optimizer's class."""
    if not name.isidentifier():  # unknown, or of a record that was changed: what is pasted is run
        return None
    place = f"{OPTIM}.{name}" if name in KNOWN else name
    others = "".join(f", {key}={literal(value)}" for key, value in (arguments or {}).items())
    unknown = "  # and its other arguments" if arguments is None else ""
    return f"{place}({trained}, lr={format_lr(lr)}{others}){unknown}"


def literal(value: Any) -> str:
    """A value of a record as Python writes it; its lists were tuples."""
    return repr(tuple(value)) if isinstance(value, list) else repr(value)
