"""The command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lrscout

OWN_CODE = str(Path(lrscout.__file__).parent.parent)


def start(folder: Path, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    """Start lrscout in a folder, with pipes for what it prints."""
    known = {"PYTHONPATH": OWN_CODE, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "lrscout", *arguments],
        cwd=folder,
        text=True,
        env={**os.environ, **known},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **more},
    )


def run(folder: Path, *arguments: str, seconds: float = 60.0, **more: Any) -> tuple[int, str, str]:
    """Run lrscout in a folder: its exit code, stdout and stderr."""
    process = start(folder, *arguments, **more)
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, out, err
