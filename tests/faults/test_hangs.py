"""A target that hangs ends the run after --timeout, with the place where it hangs."""

from __future__ import annotations

import json
import re
import sys

import pytest
from lrscout_process import run

TARGET = """
import ctypes, time
import torch
from torch import nn

def build(where=""):
    model, done = nn.Linear(4, 1), 0

    def hang():
        while True:
            time.sleep(60)  # hangs here

    def step(batch):
        nonlocal done
        done += 1
        if where == "step" and done == 12:
            hang()
        if where == "slow":
            time.sleep(0.02)
        return (model(batch) - batch.sum(1, keepdim=True)).square().mean()

    if where == "build":
        hang()
    return {"model": model, "train_loader": [torch.randn(8, 4)] * 8, "step": step,
            "optimizer": torch.optim.SGD(model.parameters(), lr=0.01)}
"""
PLACE = TARGET.splitlines().index("            time.sleep(60)  # hangs here") + 1

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGALRM")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "targets.py").write_text(TARGET)
    return tmp_path


@pytest.mark.parametrize(
    ("where", "seconds"),
    [("build", 1), pytest.param("step", 8, marks=pytest.mark.slow)],  # torch needs some to get ready
)
def test_find_lr_says_where_the_target_hangs(folder, where, seconds):
    arguments = ("--timeout", str(seconds), "-k", f"where={where}", "--device", "cpu", "-o", "run.json")
    code, _, err = run(folder, "find-lr", "targets:build", *arguments)
    assert code == 1
    assert re.search(rf"Nothing has happened for {seconds} s: it is at .*targets.py:{PLACE} in hang\.", err)
    assert "raise --timeout" in err
    assert "Traceback" not in err
    if where == "step":  # what was measured is kept
        assert len(json.loads((folder / "run.json").read_text())["result"]["points"]) > 5


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("where", ["build", "step"])
def test_a_comparison_of_a_target_that_hangs_ends(folder, where, jobs):
    arguments = ("--timeout", "8", "-k", f"where={where}", "--device", "cpu", "--jobs", jobs, "--lr", "0.01")
    code, _, err = run(folder, "compare-schedulers", "targets:build", *arguments, "--steps", "50")
    assert code == 1
    place = rf"it is at .*targets.py:{PLACE} in hang" if jobs == "1" else "the processes of the runs tell nothing"
    assert re.search(rf"Nothing has happened for 8 s: {place}\.", err), err


@pytest.mark.slow
def test_a_run_that_goes_on_is_not_ended_however_long_it_takes(folder):
    arguments = ("--timeout", "8", "-k", "where=slow", "--device", "cpu", "--steps", "500", "--max-steps", "500")
    code, _, err = run(folder, "find-lr", "targets:build", *arguments)
    assert "Nothing has happened" not in err
    assert code in (0, 4)
