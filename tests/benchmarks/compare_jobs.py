"""How much time `compare-schedulers --jobs 2` takes of what one run at a time takes, and that the numbers are the same.

    python tests/benchmarks/compare_jobs.py [pairs]

The digits recipe at 4 schedules x 5 seeds x 300 steps; serial and parallel runs of the whole command take turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODES = {"tune": (), "shared": ("--lr-mode", "shared", "--lr", "0.02")}


def timed(jobs: int, *more: str) -> tuple[float, Any]:
    """Seconds of one whole command, and its ranking."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "run.json"
        command = [sys.executable, "-m", "lrscout", "compare-schedulers", "recipes/digits_cnn.py:build"]
        options = ["--device", "cpu", "--jobs", str(jobs), "--quiet", "-o", str(record), *more]
        started = time.perf_counter()
        subprocess.run([*command, *options], cwd=ROOT, check=True, capture_output=True)
        seconds = time.perf_counter() - started
        return seconds, json.loads(record.read_text())["result"]["ranking"]


def main(pairs: int) -> None:
    for mode, more in MODES.items():
        ratios = []
        for _ in range(pairs):
            (serial, ranking), (parallel, same) = timed(1, *more), timed(2, *more)
            ratios.append(parallel / serial)
            told = "the same numbers" if ranking == same else "OTHER NUMBERS"
            print(
                f"--lr-mode {mode}: {serial:.1f} s, with --jobs 2 {parallel:.1f} s: {ratios[-1]:.2f}, {told}",
                flush=True,
            )
        print(f"--lr-mode {mode}: median ratio {median(ratios):.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
