"""The seeds of find-lr and the trainings of --refine in other processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

import lrscout
from lrscout.cli import main
from lrscout.errors import UsageError
from lrscout.processes.cores import cpu_cores
from lrscout.processes.deaths import Died, WorkerDiedError
from lrscout.results import SweepPoint, SweepResult
from lrscout.runs.lr.elsewhere import WorkElsewhere, is_elsewhere
from lrscout.runs.lr.executors import _threads_each
from lrscout.runs.lr.in_turn import search_in_turn
from lrscout.runs.lr.observer import LrObserver
from lrscout.runs.lr.requests import Advanced, Census, Described
from lrscout.runs.lr.search import search_by
from lrscout.runs.lr.seed import FoundBySeed
from lrscout.runs.lr.trainer import TrainingLength
from lrscout.settings import FindLrSettings

TARGET = """
import os
import time

import torch
from torch import nn


def build(slow=-1, dies=-1, delay=0.0):
    seed = torch.initial_seed()
    if seed == dies:
        os._exit(7)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 2))
    x = torch.randn(128, 8)
    data = torch.utils.data.TensorDataset(x, torch.sin(x[:, :2]))
    if seed == slow:
        model.register_forward_hook(lambda *_: time.sleep(delay))
    return {
        "model": model,
        "train_loader": torch.utils.data.DataLoader(data, 16, shuffle=True),
        "val_loader": torch.utils.data.DataLoader(data, 64),
        "loss_fn": nn.MSELoss(),
        "optimizer": torch.optim.Adam(model.parameters(), lr=1e-3),
    }
"""
POINTS = tuple(
    SweepPoint(step, 10 ** (-5 + step / 20), 2.0 if step < 30 else 1.0 if step < 80 else 9.0, 1.0)
    for step in range(100)
)


def found_by(seed):
    return FoundBySeed(seed, SweepResult(POINTS, "diverged", 1.0), None, 100, (f"of seed {seed}",))


class Fake:
    """An executor whose answers are given, in the order in which they come; an exception is raised."""

    workers = sharing = 2

    def __init__(self, *answers):
        self.answers = answers

    def run(self, requests, on_report):
        for answer in self.answers:
            if isinstance(answer, BaseException):
                raise answer
            if isinstance(answer, Advanced):
                on_report(0, answer)
            elif isinstance(answer, Died):
                yield 0, answer
            else:
                yield answer, (found_by(requests[answer].seed), Census(()))


SUBJECT = Described(
    None,
    {},
    {"groups": [], "optimizer": "SGD"},
    ("of all",),
    TrainingLength(400, None, "--horizon"),
    (1.0,),
    Census(()),
    2,
)
SETTINGS = FindLrSettings(seeds=3, jobs="2", rule="steepest", min_lr=1e-5, max_lr=1.0)


def searched(*answers, observer=None):
    return search_by(WorkElsewhere(Fake(*answers), SUBJECT, None), SETTINGS, observer or LrObserver())


def test_seeds_are_recorded_in_their_order_whatever_order_they_end_in():
    record = searched(2, 0, 1)
    assert [each.seed for each in record.result.seeds] == [0, 1, 2]
    assert record.warnings == ("of seed 0", "of seed 1", "of seed 2", "of all")
    assert record.result.steps == 300


def test_ctrl_c_keeps_the_seeds_that_have_ended():
    record = searched(2, KeyboardInterrupt())
    assert record.status == "interrupted"
    assert [each.seed for each in record.result.seeds] == [2]


def test_ctrl_c_before_any_seed_has_ended_leaves_no_record():
    with pytest.raises(KeyboardInterrupt):
        searched(KeyboardInterrupt())


@pytest.mark.parametrize("ended", [(), (1,)])
def test_ctrl_c_during_the_second_optimizer_keeps_the_first(ended):
    answers = [(2, 0, 1), (*ended, KeyboardInterrupt())]
    works = ((number, WorkElsewhere(Fake(*each), SUBJECT, number)) for number, each in enumerate(answers))
    record = search_in_turn(works, SETTINGS, LrObserver())
    assert record.status == "interrupted"
    assert [each.seed for each in record.result.seeds] == [0, 1, 2]
    assert [len(other.result.seeds) for other in record.result.others] == ([1] if ended else [])


def test_ctrl_c_while_the_second_optimizer_is_looked_at_keeps_the_first():
    def works():
        yield 0, WorkElsewhere(Fake(0, 1, 2), SUBJECT, 0)
        raise KeyboardInterrupt

    record = search_in_turn(works(), SETTINGS, LrObserver())
    assert (record.status, len(record.result.seeds)) == ("interrupted", 3)


def test_a_seed_whose_process_died_ends_the_search_with_those_before_it_kept():
    kept = []

    class Keeps(LrObserver):
        def keep(self, so_far):
            kept.append(so_far())

    with pytest.raises(WorkerDiedError, match="exited with code 7"):
        searched(1, Died(7), observer=Keeps())
    assert [[each.seed for each in record.result.seeds] for record in kept] == [[1]]


def test_steps_of_other_processes_are_told_and_added_to_the_plan():
    heard = []

    class Hears(LrObserver):
        def advanced(self, steps, lr, loss):
            heard.append((steps, lr, loss))

        def planned(self, steps):
            heard.append(steps)

    searched(Advanced(7, 50, 0.1, 2.0), 0, 1, 2, observer=Hears())
    assert heard == [3 * 150, 3 * 150 + 50, (7, 0.1, 2.0)]


@pytest.mark.parametrize(
    ("given", "elsewhere"),
    [
        ({"jobs": "2"}, False),
        ({"engine": "ray"}, False),
        ({"seeds": 2}, False),
        ({"seeds": 2, "jobs": "2"}, True),
        ({"refine": "600", "jobs": "auto"}, True),
        ({"seeds": 2, "engine": "ray"}, True),
    ],
)
def test_other_processes_are_used_where_they_are_asked_for_and_have_something_to_do(given, elsewhere):
    assert is_elsewhere(FindLrSettings(**given)) is elsewhere


@pytest.mark.parametrize(
    ("jobs", "seeds", "cores", "threads"),
    [("2", 5, 16, 8), ("2", 5, 2, 1), ("2", 5, 1, 1), ("9", 2, 16, 8), ("auto", 5, 16, 3), ("auto", 5, 2, 1)],
)
def test_processes_divide_the_cores_among_themselves(monkeypatch, jobs, seeds, cores, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert _threads_each(FindLrSettings(seeds=seeds, jobs=jobs), cores) == threads


def test_threads_that_the_user_has_set_stay(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert _threads_each(FindLrSettings(seeds=2, jobs="2"), 2) is None


@pytest.mark.slow
def test_a_search_in_two_processes_records_the_threads_of_each(folder, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    search = ["find-lr", "mymod.py:build", "--seeds", "2", "--jobs", "2", "-q", "--device", "cpu", "-o", "it.json"]
    assert main(search) == 0
    assert json.loads((folder / "it.json").read_text())["environment"]["threads"] == 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert main(search) == 0
    assert json.loads((folder / "it.json").read_text())["environment"]["threads"] == max(1, cpu_cores() // 2)


def test_objects_that_other_processes_cannot_import_are_refused():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 1)
    with pytest.raises(UsageError, match="jobs=2 runs in other processes, which cannot import 'Linear'"):
        lrscout.find_lr(model, [(torch.ones(2, 2), torch.ones(2, 1))], torch.nn.MSELoss(), seeds=2, jobs=2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mymod.py").write_text(TARGET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def numbers(path):
    """A record without its times, and without where it was made."""
    record = json.loads(path.read_text())
    settings = {**record["settings"], "jobs": None, "engine": None}
    result = {**record["result"], "seconds": None}
    return {**record, "settings": settings, "result": result}


@pytest.mark.slow
def test_the_record_of_two_jobs_is_that_of_one(folder):
    search = ["find-lr", "mymod.py:build", "--seeds", "3", "--refine", "600", "-q", "--device", "cpu"]
    assert main([*search, "-o", "one.json"]) == 0
    assert main([*search, "-o", "two.json", "--jobs", "2"]) == 0
    one, two = numbers(folder / "one.json"), numbers(folder / "two.json")
    assert one["result"]["refinement"]["probes"]
    assert two == one


@pytest.mark.slow
def test_ctrl_c_during_the_second_seed_shows_the_first(folder):
    words = [
        "find-lr",
        "mymod.py:build",
        "--seeds",
        "2",
        "--jobs",
        "2",
        "-k",
        "slow=1",
        "-k",
        "delay=0.5",
        "-o",
        "it.json",
    ]
    process = subprocess.Popen([sys.executable, "-m", "lrscout", *words], stderr=subprocess.PIPE, text=True)
    try:
        limit = time.monotonic() + 60
        while not (folder / "it.json").exists():  # written as soon as a seed has ended
            assert time.monotonic() < limit
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, err
    record = json.loads((folder / "it.json").read_text())
    assert record["status"] == "interrupted"
    assert [each["seed"] for each in record["result"]["seeds"]] == [0]


@pytest.mark.slow
def test_a_seed_that_kills_its_process_is_tried_twice_and_then_told(folder, capfd):
    assert main(["find-lr", "mymod.py:build", "--seeds", "2", "--jobs", "2", "-k", "dies=1", "-q"]) == 1
    assert "exited with code 7" in capfd.readouterr().err


def test_who_asks_for_other_processes_and_has_nothing_for_them_is_told_once(folder, capfd):
    (folder / "mymod.py").rename(folder / "alone.py")  # another test has imported the name

    def told(*words):
        assert main(["find-lr", "alone.py:build", "--max-steps", "150", *words]) == 0
        return [line for line in capfd.readouterr().err.splitlines() if "nothing to share" in line]

    for words in (("--jobs", "2"), ("--engine", "ray")):
        (note,) = told(*words)
        assert note.startswith(f"{' '.join(words)} has nothing to share: only --seeds and --refine")
    assert told() == []
