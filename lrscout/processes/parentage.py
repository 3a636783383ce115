"""Processes that end with the one that forked them, however that one ends. Linux only; elsewhere nothing happens."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

PR_SET_PDEATHSIG = 1
NEVER = 0


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; `parent` is the process that it should have."""
    _on_parents_death(signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew
        os._exit(1)


def signalled_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when its parent dies."""
    _on_parents_death(number)


def outlive_parent() -> None:
    """Take that back."""
    _on_parents_death(NEVER)


def bind_forks() -> None:
    """From now on, what this process forks dies with it: workers of DataLoaders look for their parent every 5 s only.

    The kernel takes the end of the thread that forked for the end of the parent, so this holds for the main thread.
    """
    parent: int | None = None

    def before() -> None:
        nonlocal parent
        import ctypes  # noqa: F401  not in the child, where a lock of the import system may be held

        parent = os.getpid() if threading.current_thread() is threading.main_thread() else None

    def in_child() -> None:
        if parent is not None:
            die_with_parent(parent)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_child=in_child)


def kill_group(pid: int) -> bool:
    """Kill a process that leads a group, and all of the group; False where there is no such group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _on_parents_death(number: int) -> None:
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
