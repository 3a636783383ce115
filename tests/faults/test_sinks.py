"""A place that cannot be written to costs only itself: the result is safe and shown, and the exit code says it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lrscout

OWN_CODE = str(Path(lrscout.__file__).parent.parent)
TARGET = """
import os
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def build(batch_size=16):
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    net = nn.Linear(4, 2)
    loader = DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), batch_size)
    return {"model": net, "train_loader": loader, "loss_fn": nn.CrossEntropyLoss(),
            "optimizer": torch.optim.SGD(net.parameters(), lr=0.1)}

def elsewhere():
    os.chdir(os.environ["ELSEWHERE"])
    return build()

def noisy(batch_size=16):
    made = build(batch_size)
    loss_fn = made["loss_fn"]
    def loud(output, target):
        print("printed")
        for number in range(3):
            try:
                os.write(number, b"written\\n")
            except OSError:
                pass
        return loss_fn(output, target)
    os.system("echo echoed")
    return {**made, "loss_fn": loud}
"""
PROGRAM = """
import torch
weight = torch.nn.Parameter(torch.ones(4))
optimizer = torch.optim.SGD([weight], lr=0.1)
for step in range(300):
    loss = weight.square().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
SWEEP = ("--min-lr", "1e-4", "--max-lr", "1e3", "--steps", "60", "--rule", "steepest")
COMPARE = ("-s", "cosine", "-s", "constant", "--steps", "10", "--seeds", "1", "--lr", "0.1", "--lr-mode", "shared")
COMMANDS = {
    "check": ["check", "targets:noisy", "--steps", "10"],
    "find-lr": ["find-lr", "targets:noisy", *SWEEP],
    "find-batch-size": ["find-batch-size", "targets:noisy", "--device", "cpu", "--max", "4", "--objective", "memory"],
    "compare": ["compare-schedulers", "targets:noisy", *COMPARE],
    "compare in two processes": ["compare-schedulers", "targets:noisy", *COMPARE, "--jobs", "2"],
    "find-lr of a program": ["find-lr", *SWEEP, "--", sys.executable, "train.py"],
    "run": ["run", "--lr", "1e-3", "--steps", "300", "--", sys.executable, "train.py"],
}
pytestmark = pytest.mark.slow  # every test is some searches
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "targets.py").write_text(TARGET)
    (tmp_path / "train.py").write_text(PROGRAM)
    return tmp_path


def command(folder, *arguments, stdout=subprocess.PIPE, closed=(), **environment):
    """Run lrscout in a process of its own, some of whose descriptors are closed: its exit code, stdout and stderr."""
    known = {"PYTHONPATH": OWN_CODE, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "lrscout", *arguments],
        cwd=folder,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **known, **environment},
        preexec_fn=lambda: [os.close(number) for number in closed],
        timeout=100,
    )


def find_lr(folder, *arguments, attribute="build", **more):
    return command(folder, "find-lr", f"targets:{attribute}", *SWEEP, *arguments, **more)


def status_of(path):
    return json.loads(path.read_text())["status"]


@FULL
def test_an_export_that_cannot_be_written_leaves_the_record_and_the_other_exports(folder):
    exports = ("--export-csv", "/dev/full", "--export-markdown", "good.md")
    done = find_lr(folder, "-o", "run.json", *exports, "--quiet")
    assert (done.returncode, float(done.stdout) > 0) == (2, True)
    assert done.stderr.strip() == "Error: Cannot write /dev/full: No space left on device."
    assert status_of(folder / "run.json") == "ok"
    assert (folder / "good.md").read_text().startswith("#")


@FULL
def test_json_is_one_document_though_an_export_fails(folder):
    done = find_lr(folder, "--export-csv", "/dev/full", "--json")
    assert (done.returncode, json.loads(done.stdout)["status"]) == (2, "ok")


@FULL
@pytest.mark.parametrize("mode", ["--quiet", "--json"])
def test_a_stdout_that_is_full_leaves_the_record(folder, mode):
    with open("/dev/full", "w") as full:
        done = find_lr(folder, "-o", "run.json", mode, stdout=full)
    assert done.returncode == 1
    assert "Error: Cannot write the result to stdout: No space left on device." in done.stderr
    assert "Traceback" not in done.stderr
    assert status_of(folder / "run.json") == "ok"


@FULL
def test_every_place_that_failed_is_told(folder):
    done = find_lr(folder, "-o", "/dev/full", "--export-csv", "/dev/full", "--quiet")
    assert (done.returncode, float(done.stdout) > 0) == (2, True)
    assert done.stderr.count("Error: Cannot write /dev/full") == 2


def test_a_cache_that_cannot_be_written_to_is_told_once_and_the_answer_stands(folder):
    (folder / "cache").write_text("not a folder")
    search = ("find-batch-size", "targets:build", "--device", "cpu", "--max", "4", "--objective", "memory", "--cache")
    done = command(folder, *search, "--quiet")
    assert (done.returncode, done.stdout) == (0, "4\n")
    assert done.stderr.count("The record is not saved.") == 1
    assert done.stderr.count("The answer is not kept for --cache.") == 1


def test_a_target_that_changes_the_folder_does_not_move_the_record(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    done = find_lr(folder, "-o", "run.json", "--export-csv", "run.csv", attribute="elsewhere", ELSEWHERE=str(other))
    assert done.returncode == 0
    assert "Record: run.json" in done.stderr
    assert status_of(folder / "run.json") == "ok"
    assert (folder / "run.csv").exists()
    assert list(other.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_gets_one_document(folder):
    os.mkfifo(folder / "pipe")
    reader = subprocess.Popen(["cat", "pipe"], cwd=folder, stdout=subprocess.PIPE, text=True)
    done = find_lr(folder, "-o", "pipe", "--quiet")
    text, _ = reader.communicate(timeout=20)
    assert (done.returncode, json.loads(text)["status"]) == (0, "ok")


# Closed from the start, as by `>&-`, and closed by the reader


def check_closed(folder, name, closed):
    at = COMMANDS[name].index("--") if "--" in COMMANDS[name] else len(COMMANDS[name])
    arguments = [*COMMANDS[name][:at], "--quiet", "-o", "run.json", *COMMANDS[name][at:]]
    done = command(folder, *arguments, closed=closed)
    assert (done.returncode, status_of(folder / "run.json")) == (0, "ok"), done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stdout.split()) == (1 not in closed)  # the answer alone
    assert 2 not in closed or done.stderr == ""


def test_with_stderr_closed_what_the_target_prints_does_not_get_into_the_answer(folder):
    check_closed(folder, "find-lr", (2,))


@pytest.mark.slow
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_does_its_work_though_its_streams_are_closed(folder, name, closed):
    check_closed(folder, name, closed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "reads"), [([], True), (["--json"], True), (["--quiet"], True), (["--quiet"], False)], ids=str
)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_that_goes_away_leaves_the_record(folder, name, mode, reads):
    at = COMMANDS[name].index("--") if "--" in COMMANDS[name] else len(COMMANDS[name])
    arguments = [*COMMANDS[name][:at], *mode, "-o", "run.json", *COMMANDS[name][at:]]
    reader = subprocess.Popen(
        ["head", "-1" if reads else "-0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    if not reads:
        reader.wait()
    done = command(folder, *arguments, stdout=reader.stdin)
    line, _ = reader.communicate()
    assert "Traceback" not in done.stderr
    assert (done.returncode, bool(line)) == ((0, True) if reads else (1, False)), done.stderr
    assert status_of(folder / "run.json") == "ok"
