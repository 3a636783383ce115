"""A copy of everything that training changes, which goes back into the same tensors."""

from __future__ import annotations

import copy
import gc
import hashlib
import random
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import torch
from torch.amp.grad_scaler import GradScaler
from torch.nn import Module
from torch.optim.optimizer import Optimizer

ROOM = 4  # times the copy's size must be free on the device: optimizers are yet to make their state, of twice the size


def living(*kinds: type) -> tuple[list[Any], ...]:
    """All objects of these classes that are alive, in a list for each class."""
    gc.unfreeze()  # programs freeze what they have loaded, and frozen objects are not listed
    found: tuple[list[Any], ...] = tuple([] for _ in kinds)
    for thing in gc.get_objects():
        for kind, things in zip(kinds, found):
            if issubclass(type(thing), kind):  # unlike isinstance, this runs no code of the object's
                things.append(thing)
    return found


def weights_digest(optimizers: Iterable[Optimizer]) -> str:
    """A few characters that tell the weights of two runs apart, from the sum and the norm of each parameter."""
    digest = hashlib.sha256()
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                values = parameter.detach()
                values = values.to_local() if hasattr(values, "to_local") else values  # this rank's part of it
                exact = torch.float32 if values.device.type == "mps" else torch.float64
                total, norm = values.sum(dtype=exact), torch.linalg.vector_norm(values, dtype=exact)
                digest.update(f"{float(total):.9e} {float(norm):.9e};".encode())
    return digest.hexdigest()[:16]


class Snapshot:
    """The state of all modules, these optimizers, gradient scalers and random generators at the time it is made."""

    def __init__(
        self, optimizers: Iterable[Optimizer], modules: Iterable[Module], scalers: Iterable[GradScaler]
    ) -> None:
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        tensors = [parameter for group in groups for parameter in group["params"]]
        for module in modules:
            with suppress(Exception):  # a module whose __init__ has failed, or was never called
                tensors += [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        tensors = [tensor for tensor in {id(tensor): tensor for tensor in tensors}.values() if _is_writable(tensor)]
        on_host = not _has_room(tensors)
        self._tensors = [(tensor, _copied(tensor, on_host)) for tensor in tensors]
        self._optimizers = [(optimizer, _optimizer_state(optimizer)) for optimizer in optimizers]
        self._scalers = [(scaler, scaler.state_dict()) for scaler in scalers]
        self._random = _random_state()

    @torch.no_grad()
    def restore(self, optimizers: Iterable[Optimizer]) -> None:
        """Put everything back. Those of the optimizers that are new lose their state."""
        for tensor, value in self._tensors:
            tensor.data.copy_(value)
            tensor.grad = None  # an optimizer that is yet to step in this round would step on it
        for optimizer in optimizers:
            optimizer.state.clear()
        for optimizer, (state, groups) in self._optimizers:
            for parameter, entry in state.items():
                optimizer.state[parameter] = _put_back(entry)
            for group, values in zip(optimizer.param_groups, groups):
                group.update(_put_back(values))
        self.restore_scalers()
        _set_random_state(self._random)

    def restore_scalers(self) -> None:
        """Put the state of the gradient scalers back."""
        for scaler, values in self._scalers:
            scaler.load_state_dict(values)


def _is_writable(tensor: torch.Tensor) -> bool:
    """Whether torch can copy it and write into it; expanded tensors and those from inference mode are constants."""
    if tensor.is_meta or torch.nn.parameter.is_lazy(tensor) or tensor.is_inference():
        return False
    return tensor.layout is not torch.strided or all(s or n <= 1 for s, n in zip(tensor.stride(), tensor.shape))


def _has_room(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether a copy fits beside them: on the CPU always; elsewhere only CUDA says what is free."""
    needed: dict[torch.device, int] = {}
    for tensor in tensors:
        needed[tensor.device] = needed.get(tensor.device, 0) + tensor.numel() * tensor.element_size()
    for device, size in needed.items():
        if device.type == "cpu":
            continue
        if device.type != "cuda" or torch.cuda.mem_get_info(device)[0] < ROOM * size:
            return False
    return True


def _copied(tensor: torch.Tensor, on_host: bool) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True) if on_host else tensor.detach().clone()


def _optimizer_state(optimizer: Optimizer) -> tuple[dict[Any, Any], list[dict[str, Any]]]:
    state = {parameter: _kept(entry) for parameter, entry in optimizer.state.items()}
    groups = [{key: _kept(v) for key, v in group.items() if key != "params"} for group in optimizer.param_groups]
    return state, groups


class _KeptTensor:
    """A tensor with a copy of its value: others may refer to it, so the value goes back into the tensor itself."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor, self.value = tensor, tensor.detach().clone()


def _kept(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _KeptTensor(value)
    if isinstance(value, dict):
        return {key: _kept(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_kept(item) for item in value]
    return copy.deepcopy(value)


def _put_back(value: Any) -> Any:
    if isinstance(value, _KeptTensor):
        value.tensor.data.copy_(value.value)
        return value.tensor
    if isinstance(value, dict):
        return {key: _put_back(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_put_back(item) for item in value]
    return value


def _random_state() -> tuple[Any, ...]:
    numpy = sys.modules.get("numpy")
    on_cuda: Any = torch.cuda  # which torch leaves half untyped
    cuda = on_cuda.get_rng_state_all() if on_cuda.is_initialized() else None
    return random.getstate(), numpy and numpy.random.get_state(), torch.get_rng_state(), cuda


def _set_random_state(state: tuple[Any, ...]) -> None:
    python, of_numpy, of_torch, cuda = state
    random.setstate(python)
    if of_numpy is not None:
        sys.modules["numpy"].random.set_state(of_numpy)
    torch.set_rng_state(of_torch)
    if cuda is not None:
        torch.cuda.set_rng_state_all(cuda)
