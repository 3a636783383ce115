"""The process that workers are forked from: what they need is imported in it once, and the user's code never.

No torch operation runs here: a fork after one that used several threads would wait for them forever.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import select
import signal
import socket
import struct
from multiprocessing import util
from multiprocessing.connection import Connection
from typing import Never

from lrscout.processes import worker
from lrscout.processes.parentage import die_with_parent, kill_group, outlive_parent


def main(control_fd: int, parent: int, expendable: int, preloaded: str) -> None:
    """Fork a worker for each pair of sockets that comes over the control socket; report its pid, then how it ended.

    Once the other end of the control socket is closed, by the parent or by its death, kills the workers with all that
    they started, and removes what they left in the folder for temporary files.
    """
    die_with_parent(parent)
    importlib.import_module(preloaded)
    util.get_temp_dir()  # the workers' DataLoaders use it too, and do not remove it when they are killed
    control = socket.socket(fileno=control_fd)
    server = _Server(control, bool(expendable))
    outlive_parent()
    try:
        control.send(b"r")
        server.serve()
    except (BrokenPipeError, ConnectionResetError):  # the parent is gone
        pass
    server.end()
    atexit._run_exitfuncs()  # which removes the folder
    os._exit(0)  # taking torch apart costs a second


class _Server:
    def __init__(self, control: socket.socket, expendable: bool) -> None:
        self._control, self._expendable = control, expendable
        self._statuses: dict[int, socket.socket] = {}  # where to report how each worker ended
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler nothing is written to the waker
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

    def serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._control, self._woken], [], [])
            if self._woken in ready:
                self._woken.recv(4096)
                self._reap()
            if self._control in ready and not self._fork():
                return

    def end(self) -> None:
        """Kill the workers that are left."""
        for pid in self._statuses:
            kill_group(pid)
        for pid in self._statuses:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _fork(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, 1, 2)
        if not message:
            return False
        connection, status = descriptors
        server, pid = os.getpid(), os.fork()
        if pid == 0:
            os.close(status)
            self._become_worker(Connection(connection), server)
        os.close(connection)
        self._statuses[pid] = socket.socket(fileno=status)
        self._report(pid, pid)
        return True

    def _reap(self) -> None:
        while self._statuses:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._report(pid, status)
            self._statuses.pop(pid).close()

    def _report(self, pid: int, number: int) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            self._statuses[pid].send(struct.pack("i", number))

    def _become_worker(self, connection: Connection, server: int) -> Never:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (self._control, self._woken, self._waker, *self._statuses.values()):
            each.close()
        die_with_parent(server)
        if self._expendable:
            with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
        worker.live(connection)
