"""The settings of a folder: lrscout.yaml, or [tool.lrscout] in pyproject.toml; and what init writes."""

from __future__ import annotations

import json
import sys

import pytest

from lrscout.cli import main
from lrscout.errors import RecipeError
from lrscout.project import find_project
from lrscout.records import save
from lrscout.results import CommandTarget, LrResult, RunRecord, Suggestion

TARGET = """
import torch
from torch import nn

def build(width=4):
    model = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 1))
    data = [(torch.randn(8, 4), torch.randn(8, 1)) for _ in range(4)]
    return {"model": model, "train_loader": data, "loss_fn": nn.MSELoss(),
            "optimizer": torch.optim.SGD(model.parameters(), lr=0.01)}

other = build
"""
PROJECT = """
version: 1
target: mymod.py:build
kwargs: {width: 8}
device: cpu
find_lr: {steps: 30, max_steps: 30, val_batches: 0}
targets:
  wide: {kwargs: {width: 16}, find_lr: {steps: 40, max_steps: 40}}
  second: {target: mymod.py:other}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sys.modules.pop("mymod", None)  # that of another test
    (tmp_path / "mymod.py").write_text(TARGET)
    (tmp_path / "lrscout.yaml").write_text(PROJECT)
    return tmp_path


def record(capsys, *arguments):
    code = main(["find-lr", *arguments, "--json"])
    out = capsys.readouterr().out
    assert code in (0, 4)
    return json.loads(out)


def test_a_command_without_a_target_takes_that_of_the_folder(folder, capsys):
    found = record(capsys)
    assert (found["target"]["path"], found["target"]["kwargs"]) == ("mymod.py:build", {"width": 8})
    assert found["settings"]["steps"] == 30


def test_a_name_stands_for_a_target_with_its_own_arguments_and_settings(folder, capsys):
    found = record(capsys, "wide")
    assert (found["target"]["path"], found["target"]["kwargs"]) == ("mymod.py:build", {"width": 16})
    assert found["settings"]["steps"] == 40
    assert found["settings"]["device"] == "cpu"


def test_arguments_belong_to_the_target_they_stand_beside(folder, capsys):
    assert record(capsys, "second")["target"]["kwargs"] == {}
    assert record(capsys, "mymod.py:other")["target"]["kwargs"] == {}
    assert record(capsys, "mymod.py:build")["target"]["kwargs"] == {"width": 8}


def test_flags_win_and_a_recipe_is_read_instead(folder, capsys):
    assert record(capsys, "wide", "-k", "width=5", "--steps", "20")["target"]["kwargs"] == {"width": 5}
    (folder / "r.yaml").write_text("version: 1\ntarget: mymod.py:build\nfind_lr: {steps: 20, max_steps: 20}\n")
    found = record(capsys, "--recipe", "r.yaml")
    assert (found["target"]["kwargs"], found["settings"]["steps"]) == ({}, 20)


def test_a_name_that_is_none_is_told_with_the_nearest(folder, capsys):
    assert main(["find-lr", "wyde"]) == 3
    assert "Did you mean 'wide'?" in capsys.readouterr().err


def test_a_file_is_not_taken_for_a_name(folder, capsys):
    assert main(["find-lr", "mymod.py"]) == 3
    assert "Did you mean mymod.py:build?" in capsys.readouterr().err


def test_settings_for_targets_alone_do_not_disturb_a_training_command(folder, capsys):
    (folder / "lrscout.yaml").write_text("version: 1\nfind_lr: {val_batches: 2, steps: 30}\nprecision: bf16\n")
    code = main(["find-lr", "--", "false"])
    assert code == 1  # the command's own failure, and not exit code 2
    assert "cannot be used with a command" not in capsys.readouterr().err


def test_run_takes_the_program_of_a_record_where_the_folder_has_a_target(folder, capsys):
    found = LrResult(Suggestion(0.1, "scout", "made up"), {}, (), "completed", 0, 0.0)
    target = CommandTarget((sys.executable, "-c", "raise SystemExit(7)"), str(folder)).as_dict()
    save(RunRecord("find-lr", "ok", target, {}, {}, found), folder / "lr.json")
    assert main(["run", "--from", "lr.json", "--steps", "10"]) == 7
    assert main(["run", "--lr", "0.1", "--steps", "10"]) == 2
    assert "No training command given." in capsys.readouterr().err


def test_pyproject_has_the_same_keys(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.lrscout]\ntarget = "mymod:build"\nfind_lr = {steps = 40}\n'
        "[tool.lrscout.targets.wide.kwargs]\nwidth = 9\n"
    )
    found = find_project(tmp_path)
    assert (found.target, found.settings_for("find_lr")) == ("mymod:build", {"steps": 40})
    assert found.named("wide").kwargs == {"width": 9}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.lrscout]\nfind_lr = {steps = 1}", "steps 1 must be at least 3"),
        ("[tool.lrscout]\nfind_rl = {}", "unknown key 'find_rl'. Did you mean 'find_lr'?"),
        ('[tool.lrscout.targets]\n"a:b" = {}', "must be text without a colon"),
        ("[tool.lrscout]\ntargets = {a = 1}", "a must be a mapping"),
        ("[tool.lrscout\n", "pyproject.toml: "),
    ],
)
def test_what_is_wrong_in_pyproject_is_told(tmp_path, text, message):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(RecipeError, match=message.replace("'", ".").replace("?", r"\?")):
        find_project(tmp_path)


def test_a_pyproject_without_a_table_is_none(tmp_path):
    assert find_project(tmp_path) is None
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "lrscout-user"\n')
    assert find_project(tmp_path) is None


def test_settings_in_both_files_are_refused(folder):
    (folder / "pyproject.toml").write_text("[tool.lrscout]\nseed = 1\n")
    with pytest.raises(RecipeError, match=r"Both lrscout\.yaml and"):
        find_project()


def test_init_writes_a_target_that_runs_and_overwrites_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["init", "new", "--github-workflow"]) == 0
    assert (tmp_path / "new/.github/workflows/lrscout.yml").is_file()
    monkeypatch.chdir(tmp_path / "new")
    capsys.readouterr()
    found = record(capsys, "wide", "--steps", "60", "--max-steps", "60")
    assert found["target"]["kwargs"] == {"batch_size": 64, "width": 256}
    before = (tmp_path / "new/tuning.py").read_text()
    assert main(["init"]) == 2
    assert "there already; nothing was written" in capsys.readouterr().err
    (tmp_path / "new/tuning.py").write_text("mine")
    assert main(["init", "--force"]) == 0
    assert (tmp_path / "new/tuning.py").read_text() == before
