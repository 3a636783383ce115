"""What attached/protection.py has moved aside goes back once the command has ended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path


def put_back(folder: Path) -> list[str]:
    """Put back what the notes in this folder tell of, the last move first; returns the paths."""
    back = []
    for notes in sorted(folder.glob("aside.*")):
        for line in reversed(notes.read_text(encoding="utf-8").splitlines()):
            with contextlib.suppress(ValueError, OSError):  # cut off in the middle; or somebody has moved it since
                path, aside = json.loads(line)
                if not os.path.lexists(aside):
                    continue
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                os.replace(aside, path)
                back.append(path)
    return list(dict.fromkeys(back))
