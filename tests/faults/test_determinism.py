"""The same command, seed and machine give the same record bit for bit, times aside.

find-batch-size is no part of this: what it answers are times.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time

import numpy as np
import pytest
import torch
from lrscout_process import run, start

from lrscout.cli import main

TARGET = """
import random, time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Noisy(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        noise = random.random() + np.random.rand() + torch.rand(())
        inputs = torch.linspace(-1, 1, 6) * (index % 7) + 0.1 * noise
        return inputs, int(index % 7 > 3)


def build(workers=0, pause=0.0):
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.Linear(8, 2))

    def step(batch):
        time.sleep(pause)
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    loader = DataLoader(Noisy(), batch_size=8, shuffle=True, num_workers=workers)
    return {"model": model, "train_loader": loader, "val_loader": DataLoader(Noisy(), batch_size=32), "step": step}
"""
TIMES = frozenset({"seconds"})  # the fields of a record that hold times, wherever they are
FIND = ("find-lr", "--steps", "60", "--max-steps", "60")
COMPARE = ("compare-schedulers", "-s", "cosine", "-s", "constant", "--steps", "10", "--seeds", "2", "--lr", "0.1")

WORKERS = ["0", pytest.param("2", marks=pytest.mark.slow)]


def without_times(value, also=frozenset()):
    """A record without its times, and without the fields that `also` names."""
    if isinstance(value, dict):
        left = {key: each for key, each in value.items() if key not in TIMES | also}
        return {key: without_times(each, also) for key, each in left.items()}
    if isinstance(value, list):
        return [without_times(each, also) for each in value]
    return value


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "noisy.py").write_text(TARGET, encoding="utf-8")
    return tmp_path


@pytest.fixture
def record(folder, monkeypatch, capfd):
    """The record of a command that is run in this process."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def made(command: str, *arguments: str):
        for disturb in (random.seed, np.random.seed, torch.seed):  # what was drawn before is no part of the command
            disturb()
        capfd.readouterr()
        code = main([command, f"{folder / 'noisy.py'}:build", *arguments, "--device", "cpu", "--json"])
        out, err = capfd.readouterr()
        assert code in (0, 4), err
        return json.loads(out)

    yield made
    sys.modules.pop("noisy", None)


def test_what_is_compared_has_no_times_and_depends_on_the_seed(record):
    found = record(*FIND)
    assert set(names_of(found)) & TIMES == TIMES
    assert not set(names_of(without_times(found))) & TIMES
    assert without_times(found) != without_times(record(*FIND, "--seed", "1"))


def names_of(value):
    parts = [*value.items()] if isinstance(value, dict) else [(None, each) for each in value]
    for name, part in parts:
        yield name
        if isinstance(part, (dict, list)):
            yield from names_of(part)


@pytest.mark.parametrize("workers", WORKERS)
def test_a_search_gives_the_same_record_again(record, workers):
    arguments = (*FIND, "-k", f"workers={workers}", "--seeds", "2", "--val-batches", "2")
    assert without_times(record(*arguments)) == without_times(record(*arguments))


@pytest.mark.parametrize("workers", WORKERS)
def test_a_comparison_gives_the_same_record_again(record, workers):
    arguments = (*COMPARE, "--lr-mode", "shared", "-k", f"workers={workers}")
    assert without_times(record(*arguments)) == without_times(record(*arguments))


@pytest.mark.skipif(sys.platform != "linux", reason="the shared server forks")
def test_jobs_do_not_change_the_record(record, shared_server, monkeypatch):
    monkeypatch.setattr("lrscout.runs.comparison.executors.make_starter", lambda *_, **__: shared_server)
    alone, together, again = (without_times(record(*COMPARE, "--jobs", jobs)) for jobs in "122")
    assert (alone["settings"].pop("jobs"), together["settings"].pop("jobs"), again["settings"].pop("jobs")) == (
        "1",
        "2",
        "2",
    )
    assert together == again
    assert together == alone


@pytest.mark.parametrize("kept", [7, *(pytest.param(kept, marks=pytest.mark.slow) for kept in (0, 1, 11))])
def test_a_comparison_that_goes_on_ends_in_the_record_of_one_that_was_not_interrupted(record, folder, kept):
    path = folder / "run.json"
    whole = record(*COMPARE, "-o", str(path))
    left = {**whole, "status": "interrupted"}
    left["result"] = {**whole["result"], "runs": whole["result"]["runs"][:kept]}  # as a kill leaves it
    path.write_text(json.dumps(left))
    assert without_times(record(*COMPARE, "-o", str(path), "--resume")) == without_times(whole)
    assert without_times(json.loads(path.read_text())) == without_times(whole)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_two_processes_give_the_same_record(folder, workers):
    arguments = ("noisy:build", "-k", f"workers={workers}", "--device", "cpu", "--json")
    first, second = (run(folder, FIND[0], *arguments, *FIND[1:])[1] for _ in range(2))
    assert without_times(json.loads(first)) == without_times(json.loads(second))


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_comparison_that_was_killed_ends_in_the_record_of_one_that_was_not(folder, jobs):
    """Killed twice, at moments that a seed tells."""
    moments = random.Random(f"moments {jobs}")
    arguments = (COMPARE[0], "noisy:build", "-k", "pause=0.02", *COMPARE[1:], "--device", "cpu", "--jobs", jobs)
    code, whole, err = run(folder, *arguments, "--json")
    assert code == 0, err
    for _ in range(2):
        process = start(folder, *arguments, "-o", "run.json", "--resume")
        before = runs_in(folder / "run.json")
        while process.poll() is None and runs_in(folder / "run.json") == before:
            time.sleep(0.02)
        time.sleep(moments.random())
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
    code, out, err = run(folder, *arguments, "-o", "run.json", "--resume", "--json")
    assert code == 0, err
    assert without_times(json.loads(out)) == without_times(json.loads(whole))


def runs_in(path):
    return len(json.loads(path.read_text())["result"]["runs"]) if path.exists() else 0
