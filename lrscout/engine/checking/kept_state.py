"""Tensors that the user's code keeps from one step to the next outside of its modules, such as hidden states."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from lrscout.engine.state import REGISTRIES, cell_contents, is_read_only
from lrscout.engine.workload import Workload

DEEPEST = 3  # levels of attributes and items
ITEMS = (list, deque, dict)
MOST_ITEMS = 100  # of one of them: a longer one holds data
MOST_LOOKED_AT = 300  # items of items, in search of tensors
MOST_HOLDERS = 1000
MOST_VALUES = 1 << 20  # of a tensor: a larger one is data too
OTHERS = (type, ModuleType, Tensor, nn.Module, Optimizer, DataLoader, Dataset)  # put back elsewhere, or no state
PLAIN = (bool, int, float, str, type(None))  # flags and counts, which go back together with the tensors beside them
MISSING = object()


@dataclass(frozen=True, slots=True)
class _Holder:
    """Something whose items can be replaced."""

    owner: Any
    items: Callable[[], dict[Any, Any]]
    put: Callable[[Any, Any], None]
    drop: Callable[[Any], Any] = lambda key: None


@contextmanager
def kept_state(workload: Workload) -> Iterator[None]:
    """Put back on exit the tensors in closures, globals and attributes; a list keeps what was added to it.

    A session itself puts back the modules and the optimizers.
    """
    holders = list({id(each.owner): each for each in islice(_holders(workload), MOST_HOLDERS)}.values())
    before = [(holder, holder.items()) for holder in holders]
    held = {id(tensor): tensor for _, items in before for value in items.values() for tensor in _tensors_in(value)}
    values = [(tensor, tensor.detach().clone()) for tensor in held.values() if _is_state(tensor)]
    try:
        yield
    finally:
        for holder, items in before:
            _put_back(holder, items)
        with torch.no_grad():
            for tensor, value in values:
                if tensor.shape == value.shape:
                    tensor.copy_(value)


def _is_state(tensor: Tensor) -> bool:
    return not isinstance(tensor, nn.Parameter) and not is_read_only(tensor) and tensor.numel() <= MOST_VALUES


def _put_back(holder: _Holder, before: dict[Any, Any]) -> None:
    now = holder.items()
    changed = [key for key in {**before, **now} if now.get(key, MISSING) is not before.get(key, MISSING)]
    if not any(_tensors_in(each.get(key)) for key in changed for each in (before, now)):
        return
    for key in changed:
        old, new = before.get(key, MISSING), now.get(key, MISSING)
        if all(each is MISSING or isinstance(each, PLAIN) or _tensors_in(each) for each in (old, new)):
            with suppress(Exception):  # what the user's classes allow
                if old is MISSING:
                    holder.drop(key)
                else:
                    holder.put(key, old)


def _tensors_in(value: Any) -> list[Tensor]:
    """The tensors among a value and its items, as far as a short look finds them."""
    found: list[Tensor] = []
    waiting = [value]
    for _ in range(MOST_LOOKED_AT):
        if not waiting:
            break
        each = waiting.pop()
        if isinstance(each, Tensor):
            found.append(each)
        elif isinstance(each, (tuple, *ITEMS)) and len(each) <= MOST_ITEMS:
            waiting += each.values() if isinstance(each, dict) else each
    return found


def _holders(workload: Workload) -> Iterator[_Holder]:
    """What may hold state: around the functions of a workload, and in the attributes of its modules."""
    model = workload.model
    for part in (workload.step, workload.val_step, workload.loss_fn, model.forward):
        yield from _around(part)
    for module in model.modules():
        for name, value in vars(module).items():
            if name not in REGISTRIES:
                yield from _within(value, 1)


def _around(part: Any) -> Iterator[_Holder]:
    """What a function refers to, and the object of a method."""
    function = getattr(part, "__func__", part)
    if not inspect.isfunction(function):
        return
    names, everything = function.__code__.co_names, function.__globals__
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))

    def items() -> dict[tuple[str, bool], Any]:  # by the name, and whether it is a global one
        around = {(name, False): value for name, cell in cells.items() for value in cell_contents(cell)}
        return {**around, **{(name, True): everything[name] for name in names if name in everything}}

    def put(key: tuple[str, bool], value: Any) -> None:
        name, is_global = key
        if is_global:
            everything[name] = value
        else:
            cells[name].cell_contents = value

    yield _Holder(function, items, put)
    for value in (getattr(part, "__self__", None), *items().values()):
        yield from _within(value, 1)


def _within(value: Any, depth: int) -> Iterator[_Holder]:
    """A list, a dict or an object with attributes, and those in it."""
    if depth > DEEPEST or isinstance(value, OTHERS) or inspect.isroutine(value):
        return
    own = value if isinstance(value, ITEMS) else getattr(value, "__dict__", None)
    if isinstance(own, (list, deque)) and len(own) <= MOST_ITEMS:
        yield _Holder(own, lambda: dict(enumerate(own)), lambda place, item: _put_at(own, place, item))
        inner = list(own)
    elif isinstance(own, dict) and len(own) <= MOST_ITEMS:
        yield _Holder(own, lambda: dict(own), own.__setitem__, own.pop)
        inner = list(own.values())
    else:
        return
    for item in inner:
        yield from _within(item, depth + 1)


def _put_at(own: list[Any] | deque[Any], place: int, item: Any) -> None:
    """Put an item back; called in the order of the places, for those beyond the end have been taken out."""
    if place < len(own):
        own[place] = item
    else:
        own.append(item)
