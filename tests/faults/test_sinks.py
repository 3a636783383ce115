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
"""
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "targets.py").write_text(TARGET)
    return tmp_path


def command(folder, *arguments, stdout=subprocess.PIPE, **environment):
    """Run lrscout in a process of its own: its exit code, stdout and stderr."""
    known = {"PYTHONPATH": OWN_CODE, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "lrscout", *arguments],
        cwd=folder,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **known, **environment},
        timeout=100,
    )


def find_lr(folder, *arguments, attribute="build", **more):
    sweep = ("--min-lr", "1e-4", "--max-lr", "1e3", "--steps", "60", "--rule", "steepest")
    return command(folder, "find-lr", f"targets:{attribute}", *sweep, *arguments, **more)


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
