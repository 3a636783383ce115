"""The memory of another process, without torch."""

from __future__ import annotations

from pathlib import Path

from lrscout.attached.status import status_bytes


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
