"""What attached/protection.py has kept goes back when the command has ended. It deletes nothing that is not its own.

Run by the supervisor, which outlives everybody else; standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path


def put_back(notes: Path) -> list[str]:
    """Put back what the notes in this folder tell of, the last first; returns the paths that had changed."""
    back: list[str] = []
    stores = set()
    for file in sorted(notes.glob("kept.*")):
        for line in reversed(file.read_text(encoding="utf-8", errors="replace").splitlines()):
            with contextlib.suppress(ValueError, OSError):  # cut off; or it cannot go back, and stays where it is kept
                path, kept, number = json.loads(line)
                stores.add(os.path.dirname(kept))
                if _put_back(path, kept, number):
                    back.append(path)
    for store in stores:
        with contextlib.suppress(OSError):  # something in it could not go back
            os.rmdir(store)
    return sorted(set(back))


def _put_back(path: str, kept: str, number: int) -> bool:
    """Whether the file had changed."""
    if not os.path.lexists(kept) or os.lstat(kept).st_ino != number:
        return False
    if os.path.lexists(path) and os.lstat(path).st_ino == number:  # it was never removed: this is a second name of it
        os.unlink(kept)
        return False
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.replace(kept, path)  # fails where the path is a folder now
    return True
