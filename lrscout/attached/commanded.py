"""What the parent says, carried out in order: steps as the program takes them, all else between two steps."""

from __future__ import annotations

import os
from collections import deque
from typing import Any, NoReturn

from .channel import Channel
from .gradients import GradientSum
from .losses import Loss
from .measuring import report
from .outbox import Outbox
from .snapshot import weights_digest

BATCH = 16  # losses that are sent together where steps are quick, since each message wakes the parent up


class Ended(SystemExit):
    """The search needs no more steps. `except Exception` does not catch it, and Python prints no traceback for it."""


class Commanded:
    """Takes the parent's commands; the program stands still while there is no step to take.

    Of the optimizers that the parent drives, the first leads: its steps are the ones that are counted. Each has its
    share of the rate that the parent names. A command is carried out by the method that has its name.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self._channel: Channel | None = None
        self._known: list[Any] = []  # what sets the rates of each optimizer, in the order in which the parent was told
        self._shares = {0: 1.0}  # of the driven optimizers, by their numbers
        self._leader = 0
        self._is_real = False  # a training that goes on to its end, in several phases perhaps
        self._released: dict[str, Any] | None = None  # the command that lets the program go on by itself
        self._gradients: GradientSum | None = None  # of the leader's steps, where they are added up
        self._commands: deque[dict[str, Any]] = deque()
        self._outbox = Outbox()
        self._ended = False

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
        name = next(iter(command))  # the first word; others belong to it
        getattr(self, f"_do_{name}")(command)

    def _do_drive(self, command: dict[str, Any]) -> None:
        self._shares, self._leader = dict(command["drive"]), command["drive"][0][0]
        self._is_real = command["real"]

    def _do_fingerprint(self, _: dict[str, Any]) -> None:
        self._tell(fingerprint=weights_digest([each.optimizer for each in self._known]))

    def _do_measure(self, command: dict[str, Any]) -> None:
        self._tell(measured=self._measured(last=command["measure"] == "last"))

    def _measured(self, last: bool) -> dict[str, Any]:
        return report(self._known[self._leader].optimizer, last)

    def _do_gradients(self, command: dict[str, Any]) -> None:
        if self._gradients is not None:
            self._tell(gradients=self._gradients.totals())
        self._gradients = GradientSum() if command["gradients"] else None

    def _do_release(self, command: dict[str, Any]) -> None:
        self._released = command

    def _do_end(self, _: dict[str, Any]) -> NoReturn:
        self._ended = True
        raise Ended(0)

    def _finish_step(self, loss: Loss) -> None:
        assert self._channel is not None
        self._outbox.add(loss)
        if len(self._outbox) >= BATCH or len(self._commands) <= 1:
            self._outbox.send_arrived(self._channel)
        self._obey()

    def _tell(self, **message: Any) -> None:
        assert self._channel is not None
        self._channel.send(**message)

    def _send_all(self) -> None:
        if self._channel is not None:
            self._outbox.send_all(self._channel)

    def _refuse(self, reason: str, about: str) -> NoReturn:
        """Tell the parent that nothing can be measured here, and wait for the end."""
        assert self._channel is not None
        self._send_all()
        self._tell(bye=reason, about=about, pid=os.getpid(), token=self.token)
        while True:
            for command in self._channel.receive():
                if "end" in command:
                    self._perform(command)
