"""The line to the parent: JSON, a message a line, in both directions."""

from __future__ import annotations

import json
import math
import os
import select
import socket
from typing import Any

CONNECT_SECONDS = 30.0


class Channel:
    """A connection to the parent. When the parent is gone, this process ends: nobody needs what it computes.

    The address is the path of a Unix socket, or tcp:HOST:PORT.

    Raises:
        OSError: nobody listens there.
    """

    def __init__(self, address: str) -> None:
        self._buffer = b""
        if address.startswith("tcp:"):
            host, _, port = address[len("tcp:") :].rpartition(":")
            self._socket = socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS)
            self._socket.settimeout(None)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.connect(address)

    def send(self, **message: Any) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            os._exit(1)

    def readable(self, seconds: float = 0) -> bool:
        """Whether `receive` would answer at once, within so many seconds."""
        poll = select.poll()  # unlike select.select, for any number of open files
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(1000 * seconds))

    def receive(self) -> list[dict[str, Any]]:
        """The messages that have arrived; waits for some."""
        try:
            data = self._socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            os._exit(1)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        self._socket.close()


def number(value: float) -> Any:
    """A float for a message: JSON has no infinity, and no NaN."""
    return value if math.isfinite(value) else str(value)
