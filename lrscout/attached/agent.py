"""Steps the program's optimizer at the rates that the parent names, and tells it the losses."""

from __future__ import annotations

import atexit
import os
from functools import partial
from typing import Any

import torch
from torch.amp.grad_scaler import GradScaler
from torch.nn import Module
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from .channel import Channel
from .closures import with_single_calls
from .commanded import Commanded
from .greeting import greeting
from .losses import Losses
from .optimizer import Driven, MadeWith
from .patches import Patches, untraced
from .snapshot import Snapshot, living

PATIENCE = 10_000  # steps of other optimizers, after which the driven one is taken to have been replaced


present: Agent | None = None


def attach(address: str, token: str) -> None:
    """Watch this process, which is about to import torch; connect to the parent at its first optimizer step."""
    global present
    present = Agent(address, token)


class Agent(Commanded):
    """Sits in the hooks of all optimizers of this process.

    Commands are carried out right after a step, so a restored model is what the next forward pass sees.
    """

    def __init__(self, address: str, token: str) -> None:
        super().__init__(token)
        self.address = address
        self._patches = Patches()
        self._losses = Losses(self._patches)
        self._made_with = MadeWith(self._patches)
        self._patches.replace(GradScaler, "step", self._noting_scaled_step)
        self._patches.replace(GradScaler, "update", self._noting_update)
        self._numbers: dict[int, int] = {}  # by the optimizer's id
        self._lr: float | None = None  # of the group with the largest rate; None: all have their own
        self._snapshot: Snapshot | None = None
        self._stepping: Driven | None = None  # whose step is under way, at a rate from the parent
        self._steps_of_others = 0  # since the leader stepped
        self._hooked = 0  # steps that came to the hooks, of any optimizer
        self._restored = False  # since a gradient scaler was updated
        self._hooks = [
            register_optimizer_step_pre_hook(self._before),
            register_optimizer_step_post_hook(self._after),
        ]

    @untraced
    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        if self._ended:  # the program has caught even a SystemExit
            os._exit(0)
        if self._channel is None and not self._connect(optimizer):
            return None
        number = self._note_step(optimizer)
        if number != self._leader:
            self._steps_of_others += 1
            if self._steps_of_others > PATIENCE and self._released is None and not self._is_real:
                self._refuse("replaced", type(self._known[self._leader].optimizer).__name__)
        elif self._released is not None:
            self._lr = self._released["release"]
        else:
            self._steps_of_others = 0
            self._stepping = self._known[number]
            self._lr = self._commands.popleft()["step"]
        if number in self._shares and self._lr is not None:
            self._known[number].set_lr(self._lr * self._shares[number], alone=self._is_real)
        if self._stepping is None:
            return None
        note = None if self._gradients is None else partial(self._gradients.note, optimizer)
        return with_single_calls(args, kwargs, lambda: self._refuse("closure", type(optimizer).__name__), note)

    @untraced
    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._hooked += 1
        if self._channel is None:
            return
        loss = self._losses.take()
        if self._released is not None:
            self._obey()
        if self._stepping is None or self._stepping.optimizer is not optimizer:
            return
        self._stepping = None
        if loss is None:
            self._refuse("no loss", type(optimizer).__name__)
        self._finish_step(loss)

    def _noting_scaled_step(self, original: Any) -> Any:
        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            hooked = self._hooked
            result = original(scaler, optimizer, *args, **kwargs)
            if self._hooked == hooked:
                self._skip_step(optimizer)
            return result

        return step

    @untraced
    def _skip_step(self, optimizer: Optimizer) -> None:
        """Count a step that the scaler left out: once the weights are not finite, there are no others."""
        loss = self._losses.take()
        if (
            self._channel is None
            or self._numbers.get(id(optimizer)) != self._leader
            or loss is None
            or self._released is not None
        ):
            return
        self._commands.popleft()
        self._finish_step(loss)

    def _noting_update(self, original: Any) -> Any:
        def update(scaler: Any, *args: Any, **kwargs: Any) -> None:
            original(scaler, *args, **kwargs)
            if self._restored and self._snapshot is not None:  # by the gradients of a step before
                self._snapshot.restore_scalers()
                self._restored = False

        return update

    def _connect(self, optimizer: Optimizer) -> bool:
        """Say hello, and wait for the first command; whether the parent wants this process."""
        try:
            self._channel = Channel(self.address)
        except OSError:
            self.detach()
            return False
        os.register_at_fork(after_in_child=self.detach)  # a DataLoader's workers inherit the connection
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
        """Find the optimizers of the program; the greeting that describes it."""
        (optimizers,) = living(Optimizer)
        # a wrapper around an optimizer may be of its class, but has no hooks
        others = [each for each in optimizers if getattr(type(each).step, "hooked", False) and each is not optimizer]
        for each in [optimizer, *others]:
            self._add(each)
        return {**greeting(optimizer), "token": self.token, "optimizers": [driven.facts() for driven in self._known]}

    def _add(self, optimizer: Optimizer) -> Driven:
        self._numbers[id(optimizer)] = len(self._known)
        driven = Driven(optimizer, self._made_with)
        self._known.append(driven)
        return driven

    def _note_step(self, optimizer: Optimizer) -> int:
        """The number of an optimizer; the parent is told of one that steps for the first time."""
        assert self._channel is not None
        if id(optimizer) not in self._numbers:
            self._channel.send(optimizer=self._add(optimizer).facts())
        number = self._numbers[id(optimizer)]
        if not self._known[number].has_stepped:
            self._known[number].has_stepped = True
            self._channel.send(stepped=number)
        return number

    def _do_keep(self, _: dict[str, Any]) -> None:
        """Copy the state, to be put back later."""
        try:
            modules, scalers = living(Module, GradScaler)
            self._snapshot = Snapshot([driven.optimizer for driven in self._known], modules, scalers)
        except Exception as error:  # a model unlike all that we know: better told than the program broken
            self._refuse("error", f"{type(error).__name__}: {error}")

    def _do_restore(self, _: dict[str, Any]) -> None:
        assert self._snapshot is not None
        self._snapshot.restore([driven.optimizer for driven in self._known])
        self._restored = True
        self._outbox.clear()
        self._tell(restored=1)

    def _do_detach(self, _: dict[str, Any]) -> None:
        self.detach()

    def detach(self) -> None:
        """Leave the program to itself."""
        for hook in self._hooks:
            hook.remove()
        self._patches.undo()
        if self._channel is not None:
            self._channel.close()
            self._channel = None
