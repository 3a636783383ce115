"""A Ray cluster of two nodes with a core each, for all tests of this folder; `make test-ray` runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attaching import MARK, alive
from waiting_for import until

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
PATH = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))  # with this `python`
LIMIT = 120  # seconds that a command may take

TARGET = '''
import os
import time

import torch
from torch import nn


class Noise:
    def __iter__(self):
        while True:
            yield 3 * torch.randn(4, 50)


class Quadratic(nn.Module):
    def __init__(self):
        super().__init__()
        self.at = nn.Parameter(3 + torch.randn(50))

    def forward(self, noise):
        return 0.5 * (self.at**2).sum() + (self.at * noise.mean(0)).sum()


def build(delay=0.0, notes=None):
    """`notes` is a file that gets a line of every run: its process, that one's parent, and the folder of this file."""
    model = Quadratic()
    if notes:
        with open(notes, "a") as file:
            file.write(f"{os.getpid()} {os.getppid()} {os.path.dirname(os.path.abspath(__file__))}\\n")
    if delay:
        model.register_forward_hook(lambda *_: time.sleep(delay))
    return {"model": model, "train_loader": Noise(), "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
'''
PROGRAM = """
import sys
import torch

torch.manual_seed(int(sys.argv[1]))
print("training with seed", sys.argv[1])
at = torch.nn.Parameter(3 + torch.randn(20))
optimizer = torch.optim.SGD([at], lr=0.1)
for step in range(1000):
    loss = 0.5 * (at**2).sum() + (at * torch.randn(20)).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Two nodes; whoever kills the second one adds another."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["PATH"] = PATH  # of the nodes too
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a target and a training program."""
    (tmp_path / "mymod.py").write_text(TARGET)
    (tmp_path / "train.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def start(folder: Path, mark: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts lrscout, and sees that nothing of it is left after the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "lrscout", *words]
        environment = {**os.environ, MARK: mark, "OMP_NUM_THREADS": "1", "PATH": PATH}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, env=environment, text=True, cwd=folder, **pipes))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()
    assert until(lambda: not alive(mark)), alive(mark)


@pytest.fixture
def lrscout(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., tuple[int, str, str]]:
    """Runs lrscout: exit code, stdout, stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        process = start(*words)
        out, err = process.communicate(timeout=LIMIT)
        return process.returncode, out, err

    return run
