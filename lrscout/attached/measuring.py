"""The memory that the program's steps take, under a limit, and the batches that it really makes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from .greeting import device_of
from .memory import CudaMemory, Memory, ProcessMemory, UnknownMemory, memory_of
from .parts import Parts
from .patches import Patches
from .shapes import shape_of_first

OWN_LIMIT = "LRSCOUT_ATTACH_OWN_LIMIT"  # of memory, which a process had before we set ours

_current: Measuring | None = None


def begin(what: str) -> None:
    """Start to count, and enforce the limit; `what` is DEVICE_TYPE:BYTES, and without a number there is no limit.

    What is held now does not count: called once torch has been imported, that leaves out torch and the interpreter.
    """
    global _current
    kind, _, limit = what.partition(":")
    _current = Measuring(kind, int(limit) if limit else None)


def uncounted(load: Callable[[], None]) -> None:
    """Load a part of torch that is imported late, as if it had been there when counting began."""
    before = _current.held() if _current is not None else None
    load()
    if _current is not None and before is not None:
        _current.leave_out((_current.held() or before) - before)


def report(optimizer: Optimizer, last: bool) -> dict[str, Any]:
    """What was measured since the last report, right after a step; after the `last` one, nothing is any more."""
    if _current is None:
        nothing = dict.fromkeys(("forward", "optimizer", "held", "available", "problem"))
        return {**nothing, "steps": 0, "shapes": [], "parts": {}}
    return _current.report(optimizer, last)


class Measuring:
    """Measures this process: peaks by phase, and the shapes of the batches between two steps of optimizers."""

    def __init__(self, kind: str, limit: int | None) -> None:
        self._limit = limit
        self._memory: Memory = UnknownMemory()
        self._forward: int | None = None
        self._steps = 0  # those that a GradScaler left out are not among them
        self._tight = False
        self._shapes: list[list[int]] = []  # of micro-batches since a step
        self._step_shapes: list[list[int]] = []  # of the last step
        self._backward_depth = 0
        self._between = True  # after a backward pass: the next module to be called receives a batch
        self._training = False
        self._own_hooks: dict[int, Any] = {}
        self._parts = Parts()
        self._optimizers: dict[int, Optimizer] = {}  # that have stepped, by their ids
        if kind == "cuda":
            torch.cuda._lazy_call(self._begin_on_cuda)  # type: ignore[no-untyped-call]
        elif sys.platform == "linux":
            if limit is not None:
                _undo_inherited_limit()
            self._switch(ProcessMemory())
        self._patches = Patches()
        self._patches.replace(torch.autograd, "backward", self._noting_backward)
        self._hooks = [
            register_module_forward_pre_hook(self._before_forward),
            register_optimizer_step_pre_hook(self._before_step),
        ]

    def held(self) -> int | None:
        return self._memory.held() if isinstance(self._memory, ProcessMemory) else None

    def leave_out(self, amount: int) -> None:
        if isinstance(self._memory, ProcessMemory):
            self._memory.leave_out(amount)

    def report(self, optimizer: Optimizer, last: bool) -> dict[str, Any]:
        self._settle(device_of(optimizer))
        peak, memory = self._memory.peak(), self._memory
        parts = self._parts.step_ended(memory.held(), self._weights(), self._optimizers.values())
        shapes, self._shapes, self._step_shapes = self._shapes or self._step_shapes, [], []
        forward, self._forward = self._forward, None
        found = {
            "forward": forward,
            "optimizer": peak,
            "held": memory.held(),
            "available": memory.available(),
            "problem": memory.problem(),
            "steps": self._steps,
            "shapes": shapes,
            "parts": parts,
        }
        if self._steps and not self._tight:
            self._tight = True
            memory.tighten()
        memory.reset_peak()
        if last:
            self._end()
        return found

    def _settle(self, device: torch.device) -> None:
        """See that the memory is that of the device that the program trains on."""
        known = self._memory
        if device.type == "cpu":
            fits = isinstance(known, ProcessMemory)
        else:
            fits = isinstance(known, CudaMemory) and device.type == "cuda" and known.index == (device.index or 0)
        if not fits:
            known.end()
            self._switch(memory_of(device))

    def _switch(self, memory: Memory) -> None:
        memory.begin(self._limit)
        self._memory = memory

    def _begin_on_cuda(self) -> None:
        with suppress(Exception):  # else CUDA counts as broken
            local = int(os.environ.get("LOCAL_RANK", -1))
            index = local if 0 <= local < torch.cuda.device_count() else torch.cuda.current_device()
            self._switch(CudaMemory(torch.device("cuda", index)))

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._steps += 1
        self._optimizers[id(optimizer)] = optimizer
        if self._shapes:
            self._step_shapes, self._shapes = self._shapes, []
        peak = self._memory.peak()
        if peak is not None:
            self._forward = max(peak, self._forward or 0)
            self._memory.reset_peak()

    def _before_forward(self, module: Module, args: Any) -> None:
        # compiled code would be compiled again whenever one of these values changes
        if torch.compiler.is_compiling() or not self._between or not torch.is_grad_enabled():
            return
        if not self._note(args) and id(module) not in self._own_hooks:
            # global hooks do not see keyword arguments; a module's own hook will, from its next call on
            hook = module.register_forward_pre_hook(self._before_forward_by_name, with_kwargs=True)
            self._own_hooks[id(module)] = hook

    def _before_forward_by_name(self, module: Module, args: Any, kwargs: Any) -> None:
        if not torch.compiler.is_compiling() and self._between and torch.is_grad_enabled():
            self._note(list(kwargs.values()))

    def _note(self, arguments: Any) -> bool:
        """Note the shape of the batch in these arguments; whether there is one."""
        shape = shape_of_first(arguments)
        if shape is None:
            return False
        self._between = False
        self._shapes.append(shape)
        if not self._training:  # what loading the data took for a moment is no part of a step
            self._training = True
            self._memory.reset_peak()
        return True

    def _noting_backward(self, original: Any) -> Any:
        def backward(*args: Any, **kwargs: Any) -> Any:
            # checkpoints call modules again meanwhile, and their own backward passes are within that of the loss
            self._parts.backward_begins(self._memory.held(), self._weights())
            self._backward_depth += 1
            self._between = False
            try:
                return original(*args, **kwargs)
            finally:
                self._backward_depth -= 1
                self._between = self._backward_depth == 0

        return backward

    def _weights(self) -> list[Tensor]:
        groups = (group for optimizer in self._optimizers.values() for group in optimizer.param_groups)
        return list({id(weight): weight for group in groups for weight in group["params"]}.values())

    def _end(self) -> None:
        self._memory.loosen()
        for hook in [*self._hooks, *self._own_hooks.values()]:
            hook.remove()
        self._patches.undo()


def _undo_inherited_limit() -> None:
    """Take the limit that this process got from its parent for the parent's own: a launcher that imports torch."""
    import resource

    own, most = resource.getrlimit(resource.RLIMIT_DATA)
    if OWN_LIMIT in os.environ:
        resource.setrlimit(resource.RLIMIT_DATA, (int(os.environ[OWN_LIMIT]), most))
    else:
        os.environ[OWN_LIMIT] = str(own)
