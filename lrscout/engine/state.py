"""Borrowed state is returned: in-memory snapshots of everything that a search touches."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import CellType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lrscout.engine.batches import shut_down_workers
from lrscout.engine.randomness import Restore, generator_owners, random_state
from lrscout.engine.workload import groups_of
from lrscout.errors import WorkloadError, summary

T = TypeVar("T")

REGISTRIES = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")  # dicts and sets of a module


@contextmanager
def preserved(
    modules: Sequence[nn.Module], optimizers: Sequence[Optimizer], loaders: Iterable[Any] = ()
) -> Iterator[None]:
    """Restore everything on exit, whatever happens inside.

    Everything means: parameters, buffers, gradients, attributes, train or eval mode and device of every module; state,
    groups and parameters of every optimizer; the random states of Python, NumPy, torch, its accelerators and the
    generators that modules and loaders own; the persistent workers of a loader.
    Objects keep their identity: values are copied back into the original tensors.
    """
    loaders = list(loaders)
    parameters = _parameters_of(modules, optimizers)
    with ExitStack() as stack:  # runs all of its callbacks even if one raises
        owners = [owner for loader in loaders for owner in generator_owners(loader)]
        stack.callback(random_state([*_modules_below(modules), *owners]))
        stack.callback(_persistent_iterators(loaders))
        for optimizer in optimizers:
            stack.callback(_optimizer_state(optimizer))
        stack.callback(_parameter_state(parameters))
        stack.callback(module_state(modules))
        for parameter in parameters:
            parameter.grad = None  # set aside: backward would add to the user's gradients
        yield


def reachable(kind: type[T], *parts: Any) -> list[T]:
    """The objects of a type among the parts and what they directly refer to.

    A function refers to its closure and the globals that it names, a method to its object and that object's
    attributes, and any other object to its attributes. So a step that updates a teacher or a second optimizer is
    covered.
    """
    everything = [found for part in parts for found in (part, *_references(part))]
    return _unique(found for found in everything if isinstance(found, kind))


def _unique(objects: Iterable[T]) -> list[T]:
    return list({id(each): each for each in objects}.values())


def _references(part: Any) -> list[Any]:
    if isinstance(part, functools.partial):
        return [part.func, *part.args, *part.keywords.values()]
    if inspect.isfunction(part):
        named = [part.__globals__[name] for name in part.__code__.co_names if name in part.__globals__]
        return [*named, *(found for cell in part.__closure__ or () for found in cell_contents(cell))]
    owner = getattr(part, "__self__", part)
    return [owner, *getattr(owner, "__dict__", {}).values()]


def cell_contents(cell: CellType) -> list[Any]:
    """What a variable around a function holds, if anything yet."""
    try:
        return [cell.cell_contents]
    except ValueError:  # the variable is not assigned yet
        return []


def _modules_below(roots: Iterable[nn.Module]) -> list[nn.Module]:
    return _unique(module for root in roots for module in root.modules())


def _parameters_of(modules: Iterable[nn.Module], optimizers: Iterable[Optimizer]) -> list[Tensor]:
    of_modules = [parameter for module in modules for parameter in module.parameters()]
    of_groups = [parameter for group in groups_of(optimizers) for parameter in group["params"]]
    return _unique([*of_modules, *of_groups])


class _SavedTensor:
    """A tensor with a copy of its value, which `restored` writes back into that same tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._data = tensor.data  # moving a module replaces the data of its parameters
        # in host memory: the device needs its memory for the training step
        self._value = None if is_read_only(tensor) else tensor.detach().to("cpu", copy=True)

    @torch.no_grad()
    def restored(self) -> Tensor:
        if self._tensor.device != self._data.device or self._tensor.data_ptr() != self._data.data_ptr():
            self._tensor.data = self._data
        if self._value is not None:
            self._tensor.copy_(self._value)
        return self._tensor


def is_read_only(tensor: Tensor) -> bool:
    """Whether torch refuses to write to the tensor, because it is expanded or from inference mode."""
    if tensor.layout is not torch.strided:
        return False
    return tensor.is_inference() or any(s == 0 and n > 1 for s, n in zip(tensor.stride(), tensor.shape))


def _parameter_state(parameters: Iterable[Tensor]) -> Restore:
    state = [(parameter, _SavedTensor(parameter), parameter.grad, parameter.requires_grad) for parameter in parameters]

    def restore() -> None:
        for parameter, saved, grad, requires_grad in state:
            parameter.grad = None  # it may be on another device
            saved.restored()
            parameter.grad = grad
            if parameter.requires_grad != requires_grad:
                parameter.detach_()  # it may have been changed in place by one with a gradient
                parameter.requires_grad_(requires_grad)

    return restore


def module_state(roots: Iterable[nn.Module]) -> Restore:
    """Save the attributes, registered names and modes of modules and all below, and the values of tensors among them.

    Moving a module replaces its buffers, and so may the user's step.
    """
    contents: list[tuple[Any, Any]] = []
    tensors: list[Tensor] = []
    modules = _modules_below(roots)
    modes = [(module, module.training) for module in modules]
    for module in modules:
        registries = [vars(module), *(getattr(module, name, None) for name in REGISTRIES)]
        contents += [(content, copy.copy(content)) for content in registries if isinstance(content, (dict, set))]
        tensors += [t for t in (*module._buffers.values(), *vars(module).values()) if isinstance(t, Tensor)]
    saved = [_SavedTensor(tensor) for tensor in _unique(tensors)]

    def restore() -> None:
        for content, before in contents:
            content.clear()
            content.update(before)
        for tensor in saved:
            tensor.restored()
        for module, training in modes:
            module.training = training

    return restore


def _optimizer_state(optimizer: Optimizer) -> Restore:
    # not with state_dict: loading one casts the state to the dtype of the parameters and creates new tensors
    attributes = dict(vars(optimizer))
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    own = [value for name, value in attributes.items() if name not in ("state", "param_groups")]
    tensors = [_SavedTensor(tensor) for tensor in _unique(_tensors_of(own)) if id(tensor) not in trained]
    name = type(optimizer).__name__
    state = [(parameter, _saved(entry, f"{name}.state[...]")) for parameter, entry in optimizer.state.items()]
    groups = [
        (group, {k: _saved(v, f"{name}.param_groups[{i}][{k!r}]") for k, v in group.items() if k != "params"})
        for i, group in enumerate(optimizer.param_groups)
    ]

    def restore() -> None:
        vars(optimizer).clear()
        vars(optimizer).update(attributes)
        for tensor in tensors:
            tensor.restored()
        optimizer.state.clear()
        for parameter, entry in state:
            optimizer.state[parameter] = _restored(entry)
        optimizer.param_groups[:] = [group for group, _ in groups]
        for group, values in groups:
            for key in set(group) - set(values) - {"params"}:
                del group[key]
            group.update({key: _restored(value) for key, value in values.items()})

    return restore


def _tensors_of(value: Any) -> Iterator[Tensor]:
    """The tensors in an attribute of an optimizer: weights of its own, as a Lookahead has them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors_of(part)


def _saved(value: Any, where: str) -> Any:
    """A copy of a part of an optimizer.

    Raises:
        WorkloadError: it cannot be copied; the message says `where` it is.
    """
    if isinstance(value, Tensor):
        return _SavedTensor(value)
    if isinstance(value, dict):
        return {k: _saved(v, f"{where}[{k!r}]") for k, v in value.items()}
    if isinstance(value, list):  # LBFGS keeps lists of tensors
        return [_saved(v, f"{where}[{i}]") for i, v in enumerate(value)]
    try:
        return copy.deepcopy(value)
    except Exception as error:  # of any type: objects say for themselves how they are copied
        raise WorkloadError(
            f"{where} holds an object of type {type(value).__name__!r}, which cannot be copied and so not be put back"
            f" ({summary(error)}).",
            hint="Keep it out of state and param_groups, for example as an attribute of the optimizer.",
        ) from error


def _restored(value: Any) -> Any:
    if isinstance(value, _SavedTensor):
        return value.restored()
    if isinstance(value, dict):
        return {k: _restored(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_restored(v) for v in value]
    return value


def _persistent_iterators(loaders: Iterable[Any]) -> Restore:
    """Set aside the iterator that a DataLoader keeps for its persistent workers, and with it their random states."""
    iterators = [(loader, loader._iterator) for loader in loaders if isinstance(loader, DataLoader)]
    for loader, _ in iterators:
        loader._iterator = None

    def restore() -> None:
        for loader, iterator in iterators:
            shut_down_workers(loader._iterator)
            loader._iterator = iterator

    return restore
