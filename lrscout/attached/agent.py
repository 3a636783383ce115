"""Steps the program's optimizer at the rates that the parent names, and tells it the losses."""

from __future__ import annotations

import atexit
import os
from collections import deque
from functools import partial
from typing import Any, NoReturn

import torch
from torch.amp.grad_scaler import GradScaler
from torch.nn import Module
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from .channel import Channel
from .closures import with_single_calls
from .gradients import GradientSum
from .greeting import greeting
from .losses import Loss, Losses
from .measuring import report
from .optimizer import Driven, MadeWith
from .outbox import Outbox
from .patches import Patches, untraced
from .snapshot import Snapshot, living, weights_digest

BATCH = 16  # losses that are sent together where steps are quick, since each message wakes the parent up
PATIENCE = 10_000  # steps of other optimizers, after which the driven one is taken to have been replaced


class Ended(SystemExit):
    """The search needs no more steps. `except Exception` does not catch it, and Python prints no traceback for it."""


def attach(address: str, token: str) -> None:
    """Watch this process, which is about to import torch; connect to the parent at its first optimizer step."""
    Agent(address, token)


class Agent:
    """Sits in the hooks of all optimizers of this process.

    The parent's commands are carried out in order: steps as the program takes them, all others right after a step.
    The program stops there while there is nothing to do, so a restored model is what the next forward pass sees.

    Of the optimizers that the parent drives, the first leads: its steps are the ones that are counted. Each has its
    share of the rate that the parent names.
    """

    def __init__(self, address: str, token: str) -> None:
        self._address, self._token = address, token
        self._patches = Patches()
        self._losses = Losses(self._patches)
        self._made_with = MadeWith(self._patches)
        self._patches.replace(GradScaler, "step", self._noting_scaled_step)
        self._patches.replace(GradScaler, "update", self._noting_update)
        self._channel: Channel | None = None
        self._known: list[Driven] = []  # in the order in which the parent was told of them
        self._numbers: dict[int, int] = {}  # by the optimizer's id
        self._shares = {0: 1.0}  # of the driven optimizers, by their numbers
        self._leader = 0
        self._is_real = False  # a training that goes on to its end, in several phases perhaps
        self._lr: float | None = None  # of the group with the largest rate; None: all have their own
        self._released: dict[str, Any] | None = None  # the command that lets the program go on by itself
        self._snapshot: Snapshot | None = None
        self._stepping: Driven | None = None  # whose step is under way, at a rate from the parent
        self._gradients: GradientSum | None = None  # of the leader's steps, where they are added up
        self._commands: deque[dict[str, Any]] = deque()
        self._outbox = Outbox()
        self._steps_of_others = 0  # since the leader stepped
        self._hooked = 0  # steps that came to the hooks, of any optimizer
        self._restored = False  # since a gradient scaler was updated
        self._ended = False
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

    def _finish_step(self, loss: Loss) -> None:
        assert self._channel is not None
        self._outbox.add(loss)
        if len(self._outbox) >= BATCH or len(self._commands) <= 1:
            self._outbox.send_arrived(self._channel)
        self._obey()

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
            self._channel = Channel(self._address)
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
        """Find the optimizers of the program; the greeting that describes it."""
        (optimizers,) = living(Optimizer)
        # a wrapper around an optimizer may be of its class, but has no hooks
        others = [each for each in optimizers if getattr(type(each).step, "hooked", False) and each is not optimizer]
        for each in [optimizer, *others]:
            self._add(each)
        return {**greeting(optimizer), "token": self._token, "optimizers": [driven.facts() for driven in self._known]}

    def _add(self, optimizer: Optimizer) -> Driven:
        self._numbers[id(optimizer)] = len(self._known)
        self._known.append(Driven(optimizer, self._made_with))
        return self._known[-1]

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

    def _obey(self) -> None:
        """Carry out commands until there is a step to take; meanwhile, send the losses as they arrive."""
        while self._channel is not None:
            while self._commands and "step" not in self._commands[0]:
                self._perform(self._commands.popleft())
            if self._commands or self._channel is None:
                return
            if (self._outbox or self._released is not None) and not self._channel.readable():
                if not self._outbox:
                    return
                self._outbox.send_next(self._channel)
            else:
                self._take(self._channel.receive())

    def _take(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            self._commands += [{"step": lr} for lr in message["steps"]] if "steps" in message else [message]

    def _perform(self, command: dict[str, Any]) -> None:
        assert self._channel is not None
        if "drive" in command:
            self._shares, self._leader = dict(command["drive"]), command["drive"][0][0]
            self._is_real = command["real"]
        elif "keep" in command:
            self._keep()
        elif "fingerprint" in command:
            self._channel.send(fingerprint=weights_digest([driven.optimizer for driven in self._known]))
        elif "measure" in command:
            optimizer = self._known[self._leader].optimizer
            self._channel.send(measured=report(optimizer, last=command["measure"] == "last"))
        elif "gradients" in command:
            if self._gradients is not None:
                self._channel.send(gradients=self._gradients.totals())
            self._gradients = GradientSum() if command["gradients"] else None
        elif "restore" in command:
            assert self._snapshot is not None
            self._snapshot.restore([driven.optimizer for driven in self._known])
            self._restored = True
            self._outbox.clear()
            self._channel.send(restored=1)
        elif "release" in command:
            self._released = command
        elif "end" in command:
            self._ended = True
            raise Ended(0)
        elif "detach" in command:
            self._detach()

    def _keep(self) -> None:
        """Copy the state, to be put back later."""
        try:
            modules, scalers = living(Module, GradScaler)
            self._snapshot = Snapshot([driven.optimizer for driven in self._known], modules, scalers)
        except Exception as error:  # a model unlike all that we know: better told than the program broken
            self._refuse("error", f"{type(error).__name__}: {error}")

    def _send_all(self) -> None:
        if self._channel is not None:
            self._outbox.send_all(self._channel)

    def _refuse(self, reason: str, about: str) -> NoReturn:
        """Tell the parent that nothing can be measured here, and wait for the end."""
        assert self._channel is not None
        self._send_all()
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
