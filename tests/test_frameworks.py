"""Programs of the common frameworks: lrscout attaches to the optimizer that they step, however deep it lies."""

from __future__ import annotations

import importlib.util
import shutil
import sys

import pytest
from attaching import twice

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is left running is looked up in /proc")

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


@pytest.mark.parametrize(
    "backend",
    [
        "eager",  # traces as the others do, and compiles nothing
        pytest.param("inductor", marks=pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")),
    ],
)
def test_a_training_step_may_be_compiled_as_a_whole(start, backend):
    command = start(sys.executable, "compiled.py", backend)
    first, second = twice(command)
    assert second == first
    assert min(first) < first[0]
    command.close()
    assert command.exit_code == 0
