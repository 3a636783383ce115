"""Where the processes of a command reach lrscout."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

from lrscout.errors import UsageError
from lrscout.processes.attach_errors import Seen

LONGEST_SOCKET = 90  # characters; the system allows about 104


class Listener:
    """A Unix socket in a folder that only this user can look into, or a port at an address of this machine.

    Raises:
        UsageError: the address, HOST or HOST:PORT, is not one of this machine, or the port is taken.
    """

    def __init__(self, listen: str | None = None) -> None:
        self.folder = _make_folder()  # for the traces of the command's processes, too
        try:
            if listen is None:
                self.address = str(self.folder / "socket")
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._socket.bind(self.address)
                self._socket.listen(128)
            else:
                self._socket, self.address = _listen_at(listen)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> socket.socket:
        """The connection of the next process that waits."""
        connection, _ = self._socket.accept()
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def seen(self) -> Seen:
        """How far the processes of the command came on this machine."""
        return Seen(len(self.pids("python")), len(self.pids("torch")))

    def pids(self, trace: str) -> tuple[int, ...]:
        """The ids of the processes on this machine that have left a trace of this name."""
        traces = [name.partition(".") for name in os.listdir(self.folder)]
        return tuple(int(pid) for name, _, pid in traces if name == trace)

    def close(self) -> None:
        self._socket.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _listen_at(place: str) -> tuple[socket.socket, str]:
    host, _, port = place.rpartition(":") if place.rpartition(":")[2].isdecimal() else (place, "", "0")
    try:
        family, *_, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=128)
    except (OSError, OverflowError, ValueError) as error:  # ValueError: a name too long, a number of 5,000 digits
        raise UsageError(
            f"lrscout cannot listen at {place}: {error}.",
            hint="--listen takes the name or address by which other machines reach this one, with a free port or none.",
        ) from None
    return listening, f"tcp:{host}:{listening.getsockname()[1]}"


def _make_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="lrscout-"))
    if len(str(folder)) > LONGEST_SOCKET:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="lrscout-", dir="/tmp"))
    return folder
