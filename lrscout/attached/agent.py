"""Steps the program's optimizer at the rates that the parent names, and tells it the losses."""

from __future__ import annotations

import atexit
import os
import platform
import sys
from collections import deque
from typing import Any, NoReturn

import torch
from torch.amp.grad_scaler import GradScaler
from torch.nn import Module
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from .channel import Channel, number
from .losses import Loss, Losses
from .optimizer import Driven
from .patches import Patches
from .snapshot import Snapshot, living

BATCH = 4  # losses that are sent together where steps are quick, since each message wakes the parent up
PATIENCE = 10_000  # steps of other optimizers, after which the driven one is taken to have been replaced


class Ended(SystemExit):
    """The search needs no more steps. `except Exception` does not catch it, and Python prints no traceback for it."""


def attach(path: str, token: str) -> None:
    """Watch this process, which is about to import torch; connect to the parent at its first optimizer step."""
    Agent(path, token)


class Agent:
    """Sits in the hooks of all optimizers of this process.

    The parent's commands are carried out in order: steps as the program takes them, all others right after a step.
    The program stops there while there is nothing to do, so a restored model is what the next forward pass sees.
    """

    def __init__(self, path: str, token: str) -> None:
        self._path, self._token = path, token
        self._patches = Patches()
        self._losses = Losses(self._patches)
        self._patches.replace(GradScaler, "step", self._noting_scaled_step)
        self._patches.replace(GradScaler, "update", self._noting_update)
        self._channel: Channel | None = None
        self._known: list[Driven] = []  # in the order in which the parent was told of them
        self._numbers: dict[int, int] = {}  # by the optimizer's id
        self._drive = 0
        self._stepping: Driven | None = None  # whose step is under way, at a rate from the parent
        self._commands: deque[dict[str, Any]] = deque()
        self._pending: deque[tuple[int, Loss]] = deque()  # losses on their way to the parent
        self._steps = 0
        self._steps_of_others = 0  # since the driven optimizer stepped
        self._hooked = 0  # steps that came to the hooks, of any optimizer
        self._restored = False  # since a gradient scaler was updated
        self._ended = False
        self._hooks = [
            register_optimizer_step_pre_hook(self._before),
            register_optimizer_step_post_hook(self._after),
        ]

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        if self._ended:  # the program has caught even a SystemExit
            os._exit(0)
        if self._channel is None and not self._connect(optimizer):
            return None
        if id(optimizer) not in self._numbers:
            self._announce(optimizer)
        if self._numbers[id(optimizer)] != self._drive:
            self._steps_of_others += 1
            if self._steps_of_others > PATIENCE:
                self._refuse("replaced", type(self._known[self._drive].optimizer).__name__)
            return None
        self._steps_of_others = 0
        self._stepping = self._known[self._drive]
        lr = self._commands.popleft()["step"]
        if lr is not None:
            self._stepping.set_lr(lr)
        return self._watched(type(optimizer).__name__, args, kwargs)

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._hooked += 1
        if self._channel is None:
            return
        loss = self._losses.take()
        if self._stepping is None or self._stepping.optimizer is not optimizer:
            return
        self._stepping = None
        if loss is None:
            self._refuse("no loss", type(optimizer).__name__)
        self._finish_step(loss)

    def _finish_step(self, loss: Loss) -> None:
        self._pending.append((self._steps, loss))
        self._steps += 1
        if len(self._pending) >= BATCH or len(self._commands) <= 1:
            self._send_arrived()
        self._obey()

    def _noting_scaled_step(self, original: Any) -> Any:
        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            hooked = self._hooked
            result = original(scaler, optimizer, *args, **kwargs)
            if self._hooked == hooked:
                self._skip_step(optimizer)
            return result

        return step

    def _skip_step(self, optimizer: Optimizer) -> None:
        """Count a step that the scaler left out: once the weights are not finite, there are no others."""
        loss = self._losses.take()
        if self._channel is None or self._numbers.get(id(optimizer)) != self._drive or loss is None:
            return
        self._commands.popleft()
        self._finish_step(loss)

    def _noting_update(self, original: Any) -> Any:
        def update(scaler: Any, *args: Any, **kwargs: Any) -> None:
            original(scaler, *args, **kwargs)
            if self._restored:  # by the gradients of a step before
                self._snapshot.restore_scalers()
                self._restored = False

        return update

    def _connect(self, optimizer: Optimizer) -> bool:
        """Say hello, and wait for the first command; whether the parent wants this process."""
        try:
            self._channel = Channel(self._path)
        except OSError:
            self._detach()
            return False
        os.register_at_fork(after_in_child=self._detach)  # a DataLoader's workers inherit the connection
        atexit.register(self._send_all)  # the program may end before the search does
        try:
            hello = self._look_around(optimizer)
        except Exception as error:  # a model unlike all that we know: better told than the program broken
            self._refuse("error", f"{type(error).__name__}: {error}")
        if isinstance(optimizer, torch.optim.LBFGS):
            self._refuse("closure", type(optimizer).__name__)
        self._channel.send(**hello)
        self._obey()
        return self._channel is not None

    def _look_around(self, optimizer: Optimizer) -> dict[str, Any]:
        """Find and copy the state of the program; the greeting that describes it."""
        modules, scalers, optimizers = living(Module, GradScaler, Optimizer)
        # a wrapper around an optimizer may be of its class, but has no hooks
        others = [each for each in optimizers if getattr(type(each).step, "hooked", False) and each is not optimizer]
        for each in [optimizer, *others]:
            self._add(each)
        self._snapshot = Snapshot([optimizer, *others], modules, scalers)
        return {**_hello(optimizer), "token": self._token, "optimizers": [driven.facts() for driven in self._known]}

    def _add(self, optimizer: Optimizer) -> Driven:
        self._numbers[id(optimizer)] = len(self._known)
        self._known.append(Driven(optimizer))
        return self._known[-1]

    def _announce(self, optimizer: Optimizer) -> None:
        assert self._channel is not None
        self._channel.send(optimizer=self._add(optimizer).facts(), index=len(self._known) - 1)

    def _obey(self) -> None:
        """Carry out commands until there is a step to take; meanwhile, send the losses as they arrive."""
        while self._channel is not None:
            while self._commands and "step" not in self._commands[0]:
                self._perform(self._commands.popleft())
            if self._commands or self._channel is None:
                return
            if self._pending and not self._channel.readable():
                self._send(self._pending.popleft())
            else:
                self._commands += self._channel.receive()

    def _perform(self, command: dict[str, Any]) -> None:
        assert self._channel is not None
        if "drive" in command:
            self._drive = command["drive"]
        elif "restore" in command:
            self._snapshot.restore([driven.optimizer for driven in self._known])
            self._restored = True
            self._pending.clear()
            self._channel.send(restored=1)
        elif "end" in command:
            self._ended = True
            raise Ended(0)
        elif "detach" in command:
            self._detach()

    def _send_arrived(self) -> None:
        arrived = []
        while self._pending and self._pending[0][1].arrived():
            arrived.append(self._pending.popleft())
        if arrived:
            self._send(*arrived)

    def _send_all(self) -> None:
        if self._channel is not None and self._pending:
            self._send(*self._pending)

    def _send(self, *losses: tuple[int, Loss]) -> None:
        assert self._channel is not None
        self._channel.send(losses=[number(loss.value()) for _, loss in losses], step=losses[-1][0])

    def _watched(self, name: str, args: Any, kwargs: Any) -> Any:
        """The arguments of `step`, with a closure that may be called once."""
        closure = kwargs.get("closure") or (args[1] if len(args) > 1 else None)
        if not callable(closure):
            return None
        called = False

        def once(*args: Any, **kwargs: Any) -> Any:
            nonlocal called
            if called:
                self._refuse("closure", name)
            called = True
            return closure(*args, **kwargs)

        return tuple(once if each is closure else each for each in args), {
            key: once if value is closure else value for key, value in kwargs.items()
        }

    def _refuse(self, reason: str, about: str) -> NoReturn:
        """Tell the parent that nothing can be measured here, and wait for the end."""
        assert self._channel is not None
        self._channel.send(bye=reason, about=about, pid=os.getpid(), token=self._token)
        while True:
            for command in self._channel.receive():
                if "end" in command:
                    self._perform(command)

    def _detach(self) -> None:
        """Leave the program to itself."""
        for hook in self._hooks:
            hook.remove()
        self._patches.undo()
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _hello(optimizer: Optimizer) -> dict[str, Any]:
    device = optimizer.param_groups[0]["params"][0].device
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        rank, world_size = distributed.get_rank(), distributed.get_world_size()
    return {
        "hello": 1,
        "pid": os.getpid(),
        "rank": rank,
        "world_size": world_size,
        "local_rank": int(os.environ.get("LOCAL_RANK", 0)),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }
