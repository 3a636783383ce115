"""The processes of a command that train, as the parent sees them: who they are, and what they say."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A parameter group."""

    name: str | None
    parameters: int  # values, not tensors
    lr: float  # its own rate: what it was made with, where that is known


@dataclass(frozen=True, slots=True)
class OptimizerFacts:
    """An optimizer of the program."""

    name: str  # of its class
    groups: tuple[GroupFacts, ...]

    @property
    def own_lr(self) -> float:
        """The largest of the groups' own rates."""
        return max(group.lr for group in self.groups)

    def group_lrs(self, lr: float) -> tuple[float, ...]:
        """Every group's rate, where the largest is `lr`."""
        return tuple(lr * (group.lr / self.own_lr if self.own_lr > 0 else 1.0) for group in self.groups)


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """What a program of lrscout's own tells of itself."""

    environment: Mapping[str, Any]  # for the record
    wanted: str | None  # what its own --optimizer names
    driven: tuple[int, ...]  # the numbers of those
    steps_per_epoch: float | None
    length: tuple[str, int] | None  # what knows the steps of its training, and how many they are
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attachment:
    """What was found in the program at its first optimizer step."""

    ranks: int
    optimizers: tuple[OptimizerFacts, ...]  # the first is the one that stepped first
    device: str
    device_name: str
    torch: str
    python: str
    threads: int
    framework: str | None = None  # whose training loop it has
    program: ProgramFacts | None = None  # where it is lrscout's own

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the program itself tells its user."""
        return () if self.program is None else self.program.warnings


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a process cannot be searched in."""

    reason: str  # "closure", "no loss", "replaced" or "error"
    about: str  # the optimizer's class, or the error


@dataclass(frozen=True, slots=True)
class Measured:
    """The memory of one rank since it was last asked, in bytes, and its last step. None: its device does not tell."""

    forward: int | None  # the peak of the forward and backward pass
    optimizer: int | None  # the peak of the optimizer step
    held: int | None
    available: int | None
    problem: str | None  # why steps that ran do not count as fitting
    steps: int  # of any optimizer, so far
    shapes: tuple[tuple[int, ...], ...]  # of what its model was called with in the last step, a micro-batch each
    parts: Mapping[str, int | None] = field(default_factory=dict)  # of its memory, by their names in a Trial


MOST_UNREAD = 1 << 20  # bytes of a line: no message is that long


class Rank:
    """One process that trains, at the other end of a connection; before it has said hello, it may be anybody."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.hello: dict[str, Any] | None = None
        self.token: str | None = None
        self.refusal: Refusal | None = None
        self.failure: Sequence[Any] | None = None  # what it raised (lrscout.processes.transport.told)
        self.dead: int | None = None  # the number of a rank that has ended without a word, as its launcher tells
        self.announced: list[OptimizerFacts] = []  # optimizers that came later
        self.stepping: set[int] = set()  # the numbers of those that have stepped
        self.answers: dict[str, Any] = {}  # by what was asked for
        self.losses: deque[float] = deque()
        self.steps = 0  # taken, of the optimizers that were driven
        self.gone = False
        self._buffer = b""

    @property
    def number(self) -> int:
        return 0 if self.hello is None else int(self.hello["rank"])

    @property
    def world_size(self) -> int:
        return 1 if self.hello is None else int(self.hello["world_size"])

    def fileno(self) -> int:
        return self.connection.fileno()

    def terminate(self) -> None:
        """Send it SIGTERM, if it is on this machine."""
        if self.connection.family == socket.AF_UNIX and not self.gone and self.hello is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(self.hello["pid"]), signal.SIGTERM)

    def send(self, **message: Any) -> None:
        """Send a message; one that is gone is noticed when it is listened to."""
        try:
            self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.gone = True

    def listen(self) -> None:
        """Take in what has arrived."""
        try:
            data = self.connection.recv(65536)
        except OSError:
            data = b""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        self.gone = self.gone or not data or len(self._buffer) > MOST_UNREAD
        try:
            for line in lines:
                self._take(json.loads(line))
        except (ValueError, TypeError, AttributeError, KeyError):  # not one of ours: a port can be knocked at
            self.gone = True

    def _take(self, message: dict[str, Any]) -> None:
        self.token = message.get("token", self.token)
        if "losses" in message:
            self.losses.extend(map(float, message["losses"]))
            self.steps = message["step"] + 1
        elif "hello" in message:
            self.hello = message
        elif "restored" in message:
            self.losses.clear()  # those of steps that nobody waits for any more
            self.answers["restored"] = True
        elif "optimizer" in message:
            self.announced.append(optimizer_facts(message["optimizer"]))
        elif "stepped" in message:
            self.stepping.add(message["stepped"])
        elif "fingerprint" in message:
            self.answers["fingerprint"] = str(message["fingerprint"])
        elif "measured" in message:
            shapes = tuple(map(tuple, message["measured"].pop("shapes")))
            self.answers["measured"] = Measured(**message["measured"], shapes=shapes)
        elif "gradients" in message:
            count, squares, square = message["gradients"]
            self.answers["gradients"] = int(count), float(squares), float(square)
        elif "evaluated" in message:
            self.answers["evaluated"] = float(message["evaluated"])
        elif "evaluates" in message:
            self.answers["evaluates"] = bool(message["evaluates"])
        elif "warnings" in message:
            self.answers["warnings"] = tuple(map(str, message["warnings"]))
        elif "failed" in message:
            self.failure = message["failed"]
        elif "dead" in message:
            self.dead = int(message["dead"])
        elif "bye" in message:
            self.refusal = Refusal(message["bye"], message["about"])

    def close(self) -> None:
        self.connection.close()


def asked(ranks: Sequence[Rank], listen: Callable[[float | None], None], answer: str, **message: object) -> list[Any]:
    """What all ranks answer to a message; `listen` takes in what they say."""
    for rank in ranks:
        rank.answers.pop(answer, None)
        rank.send(**message)
    while any(answer not in rank.answers for rank in ranks):
        listen(None)
    return [rank.answers[answer] for rank in ranks]


def optimizer_facts(message: dict[str, Any]) -> OptimizerFacts:
    """An optimizer, from a message about it."""
    groups = tuple(GroupFacts(group["name"], group["parameters"], group["lr"]) for group in message["groups"])
    return OptimizerFacts(message["name"], groups)


def attachment_of(ranks: list[Rank]) -> Attachment:
    """What the ranks have said of themselves; the first speaks for all."""
    hello = ranks[0].hello
    assert hello is not None
    facts = {key: hello[key] for key in ("device", "device_name", "torch", "python", "threads", "framework")}
    known = tuple(optimizer_facts(each) for each in hello["optimizers"])
    return Attachment(len(ranks), known, **facts, program=_program_facts(hello.get("program")))


def _program_facts(message: dict[str, Any] | None) -> ProgramFacts | None:
    if message is None:
        return None
    per_epoch, length = message["length"]
    return ProgramFacts(
        message["environment"],
        message["wanted"],
        tuple(message["driven"]),
        per_epoch,
        None if length is None else tuple(length),
        tuple(message["warnings"]),
    )
