"""Runs one command, and sees that nothing of it outlives lrscout, however lrscout ends.

Started as a program of its own, by path: `supervisor.py CONTROL COMMAND...`. It tells over the control socket how the
command started and ended, and obeys "interrupt", "term" and "kill"; when the other end is closed, it kills what is
left.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER


def main(control_fd: int, command: list[str]) -> None:
    lrscout, control = os.getppid(), socket.socket(fileno=control_fd)
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler nothing is written to the waker
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    _adopt_orphans()
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        _tell(control, failed=f"{error.strerror}: {error.filename}")
        return
    _tell(control, pid=process.pid)
    try:
        _attend(control, woken, process.pid)
    finally:
        _kill_all(process.pid)
        _restore(control)
        if os.getppid() != lrscout:  # it was killed, and nobody else removes its folder
            shutil.rmtree(os.environ["LRSCOUT_ATTACH_FOLDER"], ignore_errors=True)


def _attend(control: socket.socket, woken: socket.socket, pid: int) -> None:
    """Report the command's end, and obey until told to kill, or until the parent is gone."""
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            for ended, status in _reap():
                if ended == pid:
                    _tell(control, exit=os.waitstatus_to_exitcode(status))
        if control in ready:
            word = _heard(control)
            if word == b"i":
                _interrupt(pid)
            elif word == b"a":
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGTERM)
            elif word == b"t":
                _signal_all(pid, signal.SIGTERM)
            else:
                return


def _restore(control: socket.socket) -> None:
    """Put back the user's files that the command has changed; here, since this process outlives all others."""
    notes = os.environ.get("LRSCOUT_ATTACH_PROTECT")
    if notes:
        here = Path(__file__).with_name("put_back.py")  # by path, since this is no package
        restored = runpy.run_path(str(here))["put_back"](Path(notes))
        _tell(control, restored=restored)


def _heard(control: socket.socket) -> bytes:
    try:
        return control.recv(1)
    except OSError:
        return b""


def _tell(control: socket.socket, **message: object) -> None:
    with contextlib.suppress(OSError):
        control.sendall(json.dumps(message).encode() + b"\n")


def _adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent ends: torchrun's ranks are in sessions of their own."""
    with contextlib.suppress(Exception):  # Linux only
        import ctypes

        ctypes.CDLL(None).prctl(ADOPT_ORPHANS, 1)


def _reap() -> list[tuple[int, int]]:
    """The processes that have ended, and how."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(found)
    return ended


def _interrupt(pid: int) -> None:
    """Send SIGINT to those whom Ctrl-C in a terminal reaches: launchers pass it on to the ranks as they see fit."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGINT)


def _kill_all(pid: int) -> None:
    """Kill until nothing is left: a process may start another while it is being killed."""
    while _signal_all(pid, signal.SIGKILL):
        time.sleep(0.01)
        _reap()


def _signal_all(pid: int, number: signal.Signals) -> bool:
    """Send a signal to the command and all that it has started; whether there was anything."""
    descendants = _descendants()
    if descendants is None:  # no /proc: what left the group, or its parent, is out of reach
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
        return False
    for each in descendants:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(each, number)
    return bool(descendants)


def _descendants() -> list[int] | None:
    """The living processes below this one; None where the system does not say."""
    if not Path("/proc/self/stat").exists():
        return None
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                # the name, in parentheses, may have spaces and parentheses of its own
                _state, parent = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
                children.setdefault(int(parent), []).append(int(entry))
    found = children.get(os.getpid(), [])
    for each in found:
        found.extend(children.get(each, []))
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
