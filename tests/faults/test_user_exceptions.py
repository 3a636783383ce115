"""An exception of the user's code keeps its traceback and ends a command with exit code 1, or 3 from an import."""

from __future__ import annotations

import json
import sys

import pytest

from lrscout.cli import main
from lrscout.tracebacks import BUG

TARGET = """
import torch
import typer
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("there is no text")


ERRORS = {
    "EOFError": lambda: EOFError("Ran out of input"),
    "BrokenPipeError": lambda: BrokenPipeError(32, "Broken pipe"),
    "Exit": lambda: typer.Exit(0),
    "BadParameter": lambda: typer.BadParameter("no such parameter"),
    "Abort": lambda: typer.Abort(),
    "Unprintable": Unprintable,
}


def fail(error):
    raise ERRORS[error]()


class Data(Dataset):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 64

    def __getitem__(self, index):
        if index == 40 and self.error:
            fail(self.error)
        return torch.ones(4), torch.ones(1)


def build(error, place):
    if place == "build":
        fail(error)
    model, taken = nn.Linear(4, 1), []

    def step(batch):
        taken.append(batch)
        if len(taken) == {"first step": 1, "step 57": 57}.get(place):
            fail(error)
        return (model(batch[0]) - batch[1]).square().mean()

    workers = int(place == "worker")
    data = Data(error if place in ("loader", "worker") else None)
    return {"model": model, "train_loader": DataLoader(data, batch_size=8, num_workers=workers), "step": step}
"""
ERRORS = ("EOFError", "BrokenPipeError", "Exit", "BadParameter", "Abort", "Unprintable")
COMPARE = ("-s", "cosine", "-s", "constant", "--steps", "60", "--seeds", "1", "--lr", "0.01", "--lr-mode", "shared")


@pytest.fixture
def lrscout(tmp_path, monkeypatch, capfd):
    """Run a command on the target: exit code, stdout, stderr."""
    (tmp_path / "raising.py").write_text(TARGET, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(command: str, *arguments: str, target: str = f"{tmp_path / 'raising.py'}:build") -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([command, target, *arguments, "--device", "cpu"])
        return (code, *capfd.readouterr())

    yield run
    for name in ("raising", "raising_on_import"):
        sys.modules.pop(name, None)


def assert_told(err: str, error: str) -> None:
    """The traceback ends in the exception, begins in the user's code, and is nobody else's fault."""
    assert "in fail\n" in err
    assert f"{error}: " in err or error == "Abort"
    assert BUG not in err
    assert "lrscout/commands" not in err


@pytest.mark.parametrize("place", ["build", "first step", "step 57", "loader"])
@pytest.mark.parametrize("error", ERRORS)
def test_an_exception_keeps_its_traceback_wherever_it_is_raised(lrscout, error, place):
    code, out, err = lrscout("find-lr", "-k", f"error={error}", "-k", f"place={place}", "--json")
    assert code == 1
    assert_told(err, error)
    assert json.loads(out)["status"] == "failed"
    assert json.loads(out)["error"].startswith(error)


@pytest.mark.parametrize("error", ["EOFError", "Exit", "Unprintable"])
def test_an_exception_in_a_worker_of_the_loader_keeps_its_traceback(lrscout, error):
    code, _, err = lrscout("find-lr", "-k", f"error={error}", "-k", "place=worker")
    assert code == 1
    assert_told(err, error)


@pytest.mark.parametrize("error", ERRORS)
def test_an_exception_at_import_keeps_its_traceback(lrscout, tmp_path, error):
    (tmp_path / "raising_on_import.py").write_text(f"from raising import fail\nfail({error!r})\n", encoding="utf-8")
    code, _, err = lrscout("find-lr", target="raising_on_import:build")
    assert code == 3
    assert_told(err, error)


@pytest.mark.parametrize("place", ["build", "step 57"])
@pytest.mark.parametrize("error", ERRORS)
def test_a_comparison_keeps_its_traceback(lrscout, error, place):
    arguments = ("-k", f"error={error}", "-k", f"place={place}")
    code, _, err = lrscout("compare-schedulers", *arguments, *COMPARE)
    assert code == 1
    assert_told(err, error)


@pytest.mark.skipif(sys.platform != "linux", reason="the shared server forks")
@pytest.mark.parametrize("place", ["build", "step 57"])
@pytest.mark.parametrize("error", ERRORS)
def test_runs_in_other_processes_keep_its_traceback(lrscout, shared_server, monkeypatch, error, place):
    monkeypatch.setattr("lrscout.runs.comparison.executors.make_starter", lambda *_, **__: shared_server)
    arguments = ("-k", f"error={error}", "-k", f"place={place}", "--jobs", "2")
    code, _, err = lrscout("compare-schedulers", *arguments, *COMPARE)
    assert code == 1
    assert_told(err, error)
    assert f"Error: The target's code failed with {error}" in err


@pytest.mark.skipif(sys.platform != "linux", reason="the shared server forks")
@pytest.mark.parametrize("place", ["build", "first step"])
@pytest.mark.parametrize("error", ERRORS)
def test_trials_of_a_batch_size_keep_its_traceback(lrscout, shared_server, monkeypatch, error, place):
    monkeypatch.setattr("lrscout.runs.batch_size.trials.make_starter", lambda *_, **__: shared_server)
    arguments = ("-k", f"error={error}", "-k", f"place={place}", "--time-budget", "0.5s")
    code, _, err = lrscout("find-batch-size", *arguments)
    assert code == 1
    assert_told(err, error)


def test_a_schedule_of_the_users_keeps_its_traceback_in_a_preview(lrscout, tmp_path, capfd):
    text = "from raising import fail\ndef schedule(step, total):\n    fail('EOFError')\n"
    (tmp_path / "raising_on_import.py").write_text(text, encoding="utf-8")
    assert main(["preview", "-s", "raising_on_import:schedule"]) == 1
    assert_told(capfd.readouterr().err, "EOFError")
