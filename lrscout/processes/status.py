"""Numbers of /proc/PID/status and its like, without torch."""

from __future__ import annotations

import re
from pathlib import Path


def status_bytes(status: str, name: str) -> int:
    """A line in kB as bytes; 0 where there is none."""
    found = re.search(rf"^{name}:\s*([0-9]+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


class GrowthWatch:
    """How a process's memory grows, seen from outside."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._first = self._most = self._held()

    def look(self) -> None:
        self._most = max(self._most, self._held())

    @property
    def grown(self) -> int:
        """Bytes between the first look and the most that was seen."""
        return self._most - self._first

    def _held(self) -> int:
        try:
            return status_bytes(self._status.read_text(), "RssAnon")
        except OSError:  # gone, or no Linux
            return 0
