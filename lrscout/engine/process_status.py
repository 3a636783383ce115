"""Numbers of /proc/PID/status and its like, without torch."""

from __future__ import annotations

import re


def status_bytes(status: str, name: str) -> int:
    """A line in kB as bytes; 0 where there is none."""
    found = re.search(rf"^{name}:\s*([0-9]+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
