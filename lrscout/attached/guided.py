"""In a program of lrscout's own, which tells its steps itself: nothing has to be looked for in hooks."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, Protocol

from torch import Tensor

from .agent import Agent
from .channel import Channel, number
from .commanded import Commanded
from .greeting import greeting
from .losses import Loss
from .optimizer import facts_of


class _RestoredError(Exception):
    """The state of the beginning is to be put back."""


class Training(Protocol):
    """What the program trains, from one beginning on."""

    def step(self) -> Tensor:
        """Take a step at the present rates; its loss."""

    def evaluates(self) -> bool:
        """Whether there is held-out data that has a loss."""

    def evaluate(self) -> float | None:
        """That loss."""

    def warnings(self) -> Sequence[str]:
        """What the user should know about it so far."""


class Guided(Commanded):
    """Connects in the place of the agent, before the first step, and tells `facts` of the program.

    Each optimizer is something with an `optimizer`, its own `rates`, `set_lr(lr)`, and `rest()`, which sets its own.
    `with_gradients` has a function called with each that is about to step, and returns what ends that.

    Raises:
        OSError: the parent is gone.
    """

    def __init__(
        self, agent: Agent, optimizers: Sequence[Any], facts: dict[str, Any], with_gradients: Callable[..., Any]
    ) -> None:
        super().__init__(agent.token)
        self.keeps = False  # whether the state of the beginning is needed again
        self._training: Training | None = None
        self._is_driven = False
        self._end_gradients: Callable[[], None] = lambda: None
        self._known, self._with_gradients = list(optimizers), with_gradients
        self._micro_batches = int(facts["micro_batches"])
        self._channel = Channel(agent.address)
        os.register_at_fork(after_in_child=self._leave)  # a DataLoader's workers inherit the connection
        atexit.register(self._send_all)
        known = [facts_of(each.optimizer, each.rates) for each in self._known]
        self._tell(**greeting(self._known[0].optimizer), token=self.token, optimizers=known, program=facts)
        for place in range(len(known)):
            self._tell(stepped=place)
        while not self._is_driven:  # what follows is about a training
            if not self._commands:
                self._take(self._channel.receive())
            self._perform(self._commands.popleft())

    def train(self, training: Training) -> None:
        """Take steps at the rates that the parent names, until the state of the beginning is to be put back."""
        self._training = training
        with suppress(_RestoredError):
            self._obey()
            for place, known in enumerate(self._known):
                if place not in self._shares:
                    known.rest()
            while True:
                lr = self._commands.popleft()["step"]
                for place, share in self._shares.items():
                    if lr is not None:
                        self._known[place].set_lr(lr * share)
                self._finish_step(Loss.of(training.step()))

    def _do_drive(self, command: dict[str, Any]) -> None:
        super()._do_drive(command)
        self._is_driven = True

    def _do_keep(self, _: dict[str, Any]) -> None:
        self.keeps = True

    def _do_detach(self, _: dict[str, Any]) -> NoReturn:
        self._do_end({})  # without lrscout there is nothing to train for

    def _do_release(self, _: dict[str, Any]) -> NoReturn:
        self._do_end({})

    def _do_restore(self, _: dict[str, Any]) -> NoReturn:
        self._outbox.clear()
        self._tell(restored=1)
        raise _RestoredError

    def _do_evaluates(self, _: dict[str, Any]) -> None:
        assert self._training is not None
        self._tell(evaluates=self._training.evaluates())

    def _do_evaluate(self, _: dict[str, Any]) -> None:
        assert self._training is not None
        loss = self._training.evaluate()
        assert loss is not None  # it is asked for only where there is one
        self._tell(evaluated=number(loss))

    def _do_warnings(self, _: dict[str, Any]) -> None:
        assert self._training is not None
        self._tell(warnings=list(self._training.warnings()))

    def _measured(self, last: bool) -> dict[str, Any]:
        found = super()._measured(last)
        return {**found, "shapes": found["shapes"][: self._micro_batches]}  # a closure calls the model again

    def _do_gradients(self, command: dict[str, Any]) -> None:
        super()._do_gradients(command)
        self._end_gradients()
        if self._gradients is not None:
            self._end_gradients = self._with_gradients(self._gradients.note)

    def _leave(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
