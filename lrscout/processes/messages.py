"""What a parent and its workers say to each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

H = TypeVar("H")  # the host: the object that performs requests, which stays in its process
A = TypeVar("A")  # what a request answers

Report = Callable[[Any], None]
"""Sends something small to the parent while a request is under way."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may take."""

    seconds: float | None = None
    memory_bytes: int | None = None  # enforced by the worker itself; the parent tells by it why a process died


class Request(ABC, Generic[H, A]):
    """Something to do with a host, in whatever process it lives; picklable, and so is the answer."""

    limits = Limits()

    @abstractmethod
    def perform(self, host: H, report: Report) -> A:
        """Do it; an exception reaches the caller, from another process with its traceback as text."""

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether what it raised means that the process ran out of memory, which counts as its death."""
        return False


@dataclass(frozen=True, slots=True)
class Job(Generic[H]):
    """A request on its way to a worker, with what its host is made of: the worker makes it once, and keeps it."""

    make: Callable[..., H]
    place: int
    arguments: tuple[Any, ...]
    request: Request[H, Any]


@dataclass(frozen=True, slots=True)
class Reported:
    """Something that a request said while it was under way."""

    content: Any


@dataclass(frozen=True, slots=True)
class Answered:
    """A request's answer."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """What a request raised."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The worker's memory ran out: it answers, but its process is not to be used again."""

    reason: str


Message = Reported | Answered | Raised | OutOfMemory
