"""The losses on their way to the parent."""

from __future__ import annotations

from collections import deque

from .channel import Channel, number
from .losses import Loss


class Outbox:
    """The losses that were not sent yet, in the order of their steps."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Loss]] = deque()
        self._steps = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, loss: Loss) -> None:
        """Take in the loss of the next step."""
        self._waiting.append((self._steps, loss))
        self._steps += 1

    def clear(self) -> None:
        """Drop what nobody waits for any more."""
        self._waiting.clear()

    def send_arrived(self, channel: Channel) -> None:
        """Send those whose value can be had without waiting for the device."""
        count = 0
        while count < len(self._waiting) and self._waiting[count][1].arrived():
            count += 1
        self._send(channel, count)

    def send_next(self, channel: Channel) -> None:
        """Send the next one, which may mean to wait for the device."""
        self._send(channel, 1)

    def send_all(self, channel: Channel) -> None:
        """Send all, as soon as they are here."""
        self._send(channel, len(self._waiting))

    def _send(self, channel: Channel, count: int) -> None:
        if count:
            sent = [self._waiting.popleft() for _ in range(count)]
            channel.send(losses=[number(loss.value()) for _, loss in sent], step=sent[-1][0])
