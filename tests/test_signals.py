"""Signals that schedulers of clusters and closed terminals send end a search as Ctrl-C does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from attaching import MARK, PROGRAMS, alive

TARGET = """
import time, torch
def step(batch):
    time.sleep(0.02)
    return model(batch).square().mean()
model = torch.nn.Linear(4, 1)
workload = {"model": model, "train_loader": [torch.ones(8, 4)], "step": step}
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


def ended_by(number: int, cwd: Path, mark: str, *arguments: str) -> tuple[int, str]:
    """The exit code of a search that gets a signal once it has measured something, and what it has said."""
    environment = {**os.environ, MARK: mark, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", "lrscout", "find-lr", "-o", "run.json", *arguments]
    with subprocess.Popen(
        argv,
        cwd=cwd,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        err = ""
        while "sweep  step" not in err and (line := running.stderr.readline()):
            err += line
        running.send_signal(number)
        _, rest = running.communicate(timeout=60)
    return running.returncode, err + rest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_was_measured_is_kept_and_the_exit_code_is_that_of_a_shell(tmp_path, mark, number):
    (tmp_path / "slow.py").write_text(TARGET)
    code, err = ended_by(number, tmp_path, mark, "--device", "cpu", "slow.py:workload")
    assert code == 128 + number, err
    assert "Traceback" not in err
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == "interrupted"
    assert record["result"]["points"]


def test_no_process_of_a_command_is_left(tmp_path, mark):
    slow = ("bash", "-c", f"{sys.executable} {PROGRAMS / 'plain.py'} & wait")
    code, err = ended_by(signal.SIGTERM, tmp_path, mark, "--steps", "100000", "--", *slow)
    assert code == 128 + signal.SIGTERM, err
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    assert alive(mark) == []


def test_a_signal_that_is_ignored_stays_ignored(tmp_path, mark):
    (tmp_path / "slow.py").write_text(TARGET)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    arguments = ["find-lr", "--device", "cpu", "--steps", "40", "--max-steps", "40", "slow.py:workload"]
    with subprocess.Popen(
        [sys.executable, "-m", "lrscout", *arguments],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # as under nohup
    ) as running:
        while "sweep  step" not in running.stderr.readline():
            pass
        running.send_signal(signal.SIGHUP)
        running.communicate(timeout=60)
    assert running.returncode in (0, 4)
