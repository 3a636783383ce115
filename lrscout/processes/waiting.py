"""Waiting for those who may speak, without falling silent oneself."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Protocol, TypeVar

WAIT_SECONDS = 0.1  # between two calls of `on_wait`
LONGEST_POLL = 1e6  # seconds, of an interface that counts milliseconds in 32 bits


Speaker = TypeVar("Speaker", bound="HasDescriptor")


class HasDescriptor(Protocol):
    def fileno(self) -> int: ...


def speakers(all_of: Iterable[Speaker], seconds: float, on_wait: Callable[[], None] | None) -> list[Speaker]:
    """Those who speak within so many seconds; meanwhile, `on_wait` is called several times a second."""
    by_descriptor = {each.fileno(): each for each in all_of}
    poll = select.poll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    return [by_descriptor[descriptor] for descriptor, _ in _polled(poll, seconds, on_wait)]


def _polled(poll: select.poll, seconds: float, on_wait: Callable[[], None] | None) -> list[tuple[int, int]]:
    """Who speaks within so many seconds; meanwhile, `on_wait` is called several times a second."""
    end = monotonic() + seconds
    while True:
        left = max(0.0, end - monotonic())
        if on_wait is None:
            return poll.poll(1000 * min(left, LONGEST_POLL))
        on_wait()
        speaking = poll.poll(1000 * min(left, WAIT_SECONDS))
        if speaking or left <= WAIT_SECONDS:
            return speaking
