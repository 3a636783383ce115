"""Training commands as targets: what a user meets who points lrscout at a program as it stands."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import lrscout
from lrscout.cli import main
from lrscout.errors import LrscoutError, UsageError
from lrscout.records import from_json

PROGRAMS = Path(__file__).parent / "programs"
PLAIN = (sys.executable, str(PROGRAMS / "plain.py"))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are supervised on Linux")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Programs with two threads each slow each other down."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)

    def command_line(*arguments: str) -> tuple[int, str, str]:
        code = main(["find-lr", *arguments])
        return (code, *capfd.readouterr())

    return command_line


def test_a_program_is_searched_as_it_stands(run):
    code, out, err = run("--json", "--", *PLAIN, "--lr", "1e-2")
    document = json.loads(out)  # and nothing of what the program prints
    assert code == 0
    assert document["target"] == {
        "command": [*PLAIN, "--lr", "1e-2"],
        "cwd": str(Path.cwd()),
        "ranks": 1,
        "optimizer": "AdamW",
        "groups": [{"name": None, "parameters": 176, "lr": 0.001}, {"name": "head", "parameters": 17, "lr": 0.01}],
    }
    small, large = document["result"]["suggestion"]["groups"]
    assert large == document["result"]["suggestion"]["lr"] == pytest.approx(10 * small)
    assert document["environment"]["torch"] == str(torch.__version__)
    assert "epoch 0 loss" in err


def test_the_suggestion_is_that_of_the_same_model_as_a_target(run):
    def build():
        torch.manual_seed(0)
        x, y = torch.randn(64, 8), torch.randn(64, 1)
        model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))
        groups = [{"params": model[:2].parameters(), "lr": 1e-4}, {"params": model[3].parameters(), "lr": 1e-3}]
        return {
            "model": model,
            "train_loader": [(x, y)],
            "loss_fn": nn.MSELoss(),
            "optimizer": torch.optim.AdamW(groups),
        }

    program = lrscout.find_lr(command=PLAIN)
    target = lrscout.find_lr(build, device="cpu")
    assert [p.loss for p in program.points[:20]] == pytest.approx([p.loss for p in target.points[:20]], rel=1e-4)
    assert abs(math.log10(program.suggestion.lr / target.suggestion.lr)) < 0.15


def test_a_record_of_a_program_is_shown_again(run, capfd):
    code, first, _ = run("--max-steps", "150", "-o", "run.json", "--", *PLAIN)
    assert code == 0
    assert re.search(r"^target +\S*python\S* .*plain.py", first, re.MULTILINE)
    assert re.search(r"^head +17 +1\.0e-3 -> ", first, re.MULTILINE)
    assert main(["show", "run.json"]) == 0
    assert capfd.readouterr()[0] == first


def test_a_recipe_has_a_command(run, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "train.py").write_text((PROGRAMS / "plain.py").read_text())
    recipe = f"version: 1\ncommand: [{sys.executable}, train.py, --seed, 3]\nfind_lr: {{max_steps: 150}}\n"
    (tmp_path / "there" / "run.yaml").write_text(recipe)
    code, out, _ = run("--recipe", "there/run.yaml", "--json")
    assert code == 0
    assert json.loads(out)["target"]["command"] == [sys.executable, "train.py", "--seed", "3"]
    assert json.loads(out)["target"]["cwd"] == str(tmp_path / "there")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--precision", "bf16", "--", "python", "x.py"), "--precision"),
        (("--val-batches", "2", "--", "python", "x.py"), "--val-batches"),
        (("-k", "width=3", "--", "python", "x.py"), "--kwarg"),
        (("--epochs", "3", "--", *PLAIN), "--epochs"),
        (("--",), "--"),
        (("--", "no-such-program"), "no-such-program"),
    ],
)
def test_what_cannot_be_asked_of_a_program_is_refused(run, arguments, named):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert named in err


def test_a_program_that_fails_by_itself_shows_its_own_traceback(run, tmp_path):
    code, out, err = run("-o", "run.json", "--", *PLAIN, "--die-at", "20")
    assert (code, out) == (1, "")
    assert "RuntimeError: the disk is full" in err
    assert re.search("after 2[01] optimizer steps", err)
    record = from_json((tmp_path / "run.json").read_text())
    assert record.status == "failed"
    assert 0 < len(record.result.points) <= 21


def test_the_files_that_a_program_leaves_are_told_and_those_of_lrscout_are_not(run, tmp_path):
    program = tmp_path / "train.py"
    writes = "import os\nos.makedirs('logs/run1')\nopen('logs/run1/events', 'w').write('x' * 2048)\n"
    program.write_text(writes + (PROGRAMS / "plain.py").read_text())
    options = ("--max-steps", "150", "-o", "run.json", "--export-csv", "points.csv", "--quiet")
    code, _, err = run(*options, "--", sys.executable, "train.py")
    assert code == 0
    assert "Warning: The command wrote new files in its folder: logs/ (1 file, 2.00 KiB)." in err
    assert from_json((tmp_path / "run.json").read_text()).warnings[-1].endswith("logs/ (1 file, 2.00 KiB).")


def test_a_program_without_an_optimizer_is_told(run):
    code, _, err = run("--", sys.executable, "-c", "print('no training here')")
    assert code == 3
    assert "optimizer" in err


def test_every_seed_is_a_new_start_of_the_command(run):
    code, out, _ = run("--seeds", "2", "--max-steps", "150", "--json", "--", *PLAIN, "--seed", "{seed}")
    assert code == 0
    first, second = json.loads(out)["result"]["seeds"]
    assert (first["seed"], second["seed"]) == (0, 1)
    assert first["points"][0]["loss"] != second["points"][0]["loss"]
    again = run("--seed", "1", "--max-steps", "150", "--json", "--", *PLAIN, "--seed", "{seed}")[1]
    assert json.loads(again)["result"]["points"] == second["points"]


def test_seeds_need_a_place_in_the_command(run):
    code, _, err = run("--seeds", "2", "--max-steps", "150", "--", *PLAIN)
    assert code == 2
    assert "{seed}" in err


def test_a_place_that_nothing_fills_is_refused(run):
    code, _, err = run("--", *PLAIN, "--batch-size", "{batch_size}")
    assert code == 2
    assert "no value for {batch_size}" in err


def test_the_steps_of_a_command_are_more_than_a_search_takes(run):
    code, out, _ = run("--json", "--", *PLAIN, "--epochs", "{steps}")
    assert code == 0
    assert json.loads(out)["target"]["command"][-1] == "{steps}"  # as its user wrote it


def test_a_restarted_command_gives_the_same_answer(run):
    before = json.loads(run("--max-steps", "150", "--json", "--", *PLAIN)[1])["result"]
    code, out, err = run("--restart", "--max-steps", "150", "--json", "--", *PLAIN)
    assert code == 0
    assert json.loads(out)["result"]["points"] == before["points"]
    assert err.count("epoch 0 loss") == 1  # the first of two starts is shown


@pytest.mark.parametrize("flag", ["--keep-environment", "--listen=localhost"])
def test_flags_of_commands_are_refused_with_a_target(run, flag):
    code, _, err = run(flag, "mymod:build")
    assert code == 2
    assert f"{flag.partition('=')[0]} is for training commands alone" in err


def test_in_python_a_command_stands_alone():
    with pytest.raises(UsageError, match="with a target"):
        lrscout.find_lr("mymod:build", command=PLAIN)
    with pytest.raises(LrscoutError, match="optimizer"):
        lrscout.find_lr(command=[sys.executable, "-c", "pass"])


def test_the_parent_does_not_import_torch():
    code = f"import sys; from lrscout.cli import main; main(['find-lr', '--max-steps', '150', '--', *{PLAIN!r}]);"
    done = subprocess.run(
        [sys.executable, "-c", code + "print('HEAVY', 'torch' in sys.modules)"], capture_output=True, text=True
    )
    assert "HEAVY False" in done.stdout, done.stderr
