"""Memory as Linux tells of it: of this process, of the machine and of its cgroups. Without torch."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

PROC = Path("/proc/self")
CGROUPS = Path("/sys/fs/cgroup")


def status_bytes(status: str, name: str) -> int:
    """A line in kB of /proc/PID/status or its like as bytes; 0 where there is none."""
    found = re.search(rf"^{name}:\s*([0-9]+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def own_status(name: str) -> int:
    """A line of this process's status as bytes."""
    return status_bytes((PROC / "status").read_text(), name)


def available_memory() -> int | None:
    """The memory that this process can still get: the minimum over the machine and its cgroups; None if unknown."""
    try:
        free = status_bytes(Path("/proc/meminfo").read_text(), "MemAvailable")
    except OSError:
        return None
    return min([free, *_cgroup_room()])


def _cgroup_room() -> list[int]:
    """What the limit of each cgroup of this process leaves, for cgroup versions 1 and 2."""
    room = []
    with contextlib.suppress(OSError, ValueError):
        for line in (PROC / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root = CGROUPS / "memory" if controllers else CGROUPS
            names = (
                ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
            )
            folder = root / path.lstrip("/")
            for each in (folder, *folder.parents):
                if each.is_relative_to(root):
                    room += _room_in(each, *names)
    return room


def _room_in(folder: Path, limit_name: str, usage_name: str) -> list[int]:
    try:
        limit = int((folder / limit_name).read_text())  # raises ValueError on "max", which means no limit
        usage = int((folder / usage_name).read_text())
        cached = re.search(r"^(?:total_)?inactive_file ([0-9]+)", (folder / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return []
    return [max(0, limit - usage + (int(cached[1]) if cached else 0))]
