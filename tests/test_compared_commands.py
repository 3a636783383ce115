"""`lrscout compare-schedulers` on training commands: every run starts the program anew."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from attaching import MARK, PROGRAMS, alive
from torch import nn

import lrscout
from lrscout.cli import main
from lrscout.errors import UsageError
from lrscout.processes.attach_errors import CommandEndedError, CommandFailedError
from lrscout.processes.command import AttachedCommand
from lrscout.results import CommandTarget
from lrscout.runs.comparison.command import CommandWorkbench
from lrscout.runs.comparison.metric import words_before_group
from lrscout.runs.comparison.printed import Printed
from lrscout.search.comparison import PlannedRun
from lrscout.settings import CompareSchedulersSettings

PLAIN = (sys.executable, str(PROGRAMS / "plain.py"))
EVALUATES = (sys.executable, str(PROGRAMS / "evaluates.py"))
TWO = ("-s", "constant", "-s", "cosine")
QUICK = ("--lr", "0.01", "--lr-mode", "shared", "--steps", "20")
SEEDED = ("--", *PLAIN, "--seed", "{seed}")
REGEX = ("--metric-regex", "val loss ([0-9.e+-]+)")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are supervised on Linux")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """As the programs have: the last digits depend on it."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def compare(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)

    def command_line(*arguments: str) -> tuple[int, str, str]:
        code = main(["compare-schedulers", *arguments])
        return (code, *capfd.readouterr())

    return command_line


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """Two schedules and two seeds, in a process of their own: its record, and what it wrote to stderr."""
    folder = tmp_path_factory.mktemp("seeded")
    code = "import sys; from lrscout.cli import main; main(sys.argv[1:]); print('HEAVY', 'torch' in sys.modules)"
    arguments = ["compare-schedulers", *TWO, *QUICK, "--seeds", "2", "-o", "run.json", *SEEDED]
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert "HEAVY False" in done.stdout, done.stderr
    return folder, json.loads((folder / "run.json").read_text()), done.stderr


def runs_of(document):
    return {(run["label"], run["seed"]): run for run in document["result"]["runs"]}


def test_every_run_starts_the_program_with_its_seed(seeded):
    folder, document, err = seeded
    assert document["status"] == "ok"
    target = document["target"]
    assert (target["command"], target["cwd"], target["ranks"]) == ([*PLAIN, "--seed", "{seed}"], str(folder), 1)
    assert [group["name"] for group in target["groups"]] == [None, "head"]
    assert document["environment"]["threads"] == 1
    result = document["result"]
    assert result["metric"] == {"name": "training loss", "mode": "min", "held_out": False}
    assert result["paired"]
    assert len({run["fingerprint"] for run in result["runs"]}) == 2
    assert [run["points"][-1]["step"] for run in result["runs"]] == [19] * 4
    assert err.count("epoch 0 loss") == 1  # the first of six starts is shown
    assert "run 4/4" in err


def test_the_losses_are_those_of_the_same_model_as_a_target(seeded):
    def build():
        x, y = torch.randn(64, 8), torch.randn(64, 1)
        model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))
        groups = [{"params": model[:2].parameters(), "lr": 1e-4}, {"params": model[3].parameters(), "lr": 1e-3}]
        optimizer = torch.optim.AdamW(groups)
        return {"model": model, "train_loader": [(x, y)], "loss_fn": nn.MSELoss(), "optimizer": optimizer}

    settings = {"schedules": ["constant", "cosine"], "lr": 0.01, "lr_mode": "shared", "steps": 20, "seeds": 2}
    target = lrscout.compare_schedulers(build, device="cpu", **settings)
    _, document, _ = seeded
    for run in target.runs:
        of_program = runs_of(document)[run.label, run.seed]
        assert [point.loss for point in run.points] == [point["loss"] for point in of_program["points"]]
        assert run.final == of_program["final"]


def test_more_seeds_are_added_by_resume_in_several_processes_without_torch(seeded, monkeypatch):
    folder, before, _ = seeded
    code = "import sys; from lrscout.cli import main; main(sys.argv[1:]); print('HEAVY', 'torch' in sys.modules)"
    more = ["--resume", "--seeds", "3", "--jobs", "2", "-o", "more.json"]
    (folder / "more.json").write_text((folder / "run.json").read_text())
    done = subprocess.run(
        [sys.executable, "-c", code, "compare-schedulers", *TWO, *QUICK, *more, *SEEDED],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert "HEAVY False" in done.stdout, done.stderr
    after = json.loads((folder / "more.json").read_text())
    assert "Reusing 4 runs" in done.stderr
    assert {key: run for key, run in runs_of(after).items() if key[1] < 3} == runs_of(before)
    assert len(after["result"]["runs"]) == 6
    assert after["result"]["paired"]


def test_a_record_of_another_command_is_not_resumed(seeded, compare, monkeypatch):
    folder, _, _ = seeded
    monkeypatch.chdir(folder)
    code, _, err = compare(*TWO, *QUICK, "--resume", "-o", "run.json", "--", *PLAIN, "--seed", "1{seed}")
    assert code == 2
    assert "its command was" in err


def test_a_program_that_seeds_itself_is_scored_once(compare):
    code, out, err = compare(*TWO, *QUICK, "--json", "--", *PLAIN)
    document = json.loads(out)
    assert code == 0
    assert "it seeds itself" in err
    assert "Put {seed} where the command takes its seed" in err
    assert [run["seed"] for run in document["result"]["runs"]] == [1, 1]
    assert {row["verdict"] for row in document["result"]["ranking"]} == {"descriptive"}


@pytest.mark.slow
def test_a_program_that_ignores_its_seed_is_told():
    found = bench(*PLAIN, "--epochs", "10{seed}").inspect()
    assert found.ignores_seed
    assert "whatever {seed} is: it ignores it" in found.warnings[0]


@pytest.mark.slow
def test_a_program_with_random_seeds_of_its_own_is_not_paired(compare):
    code, out, err = compare(*TWO, *QUICK, "--seeds", "1", *REGEX, "--json", "--", *EVALUATES)
    document = json.loads(out)
    assert code == 0
    assert not document["result"]["paired"]
    assert "Put {seed} where the command takes its seed, for example --seed {seed}." in err
    assert document["result"]["metric"]["name"] == "printed val loss"
    assert "came before its last 5% of steps" in err  # after step 16 of 20


def plan(seed: int = 1) -> PlannedRun:
    return PlannedRun(0, seed, 0.01, "score")


def bench(*command: str, cwd: Path = PROGRAMS, **settings) -> CommandWorkbench:
    made = CompareSchedulersSettings(schedules=("cosine", "constant"), threads=1, **settings)
    return CommandWorkbench(CommandTarget(command, str(cwd)), made)


def test_a_program_that_is_told_its_steps_is_let_end_and_its_last_number_counts():
    command = (*EVALUATES, "--seed", "{seed}", "--steps", "{steps}")
    made = bench(*command, metric_regex=REGEX[1]).run(plan(), 16, 1, lambda point: None)
    assert made.error is None
    assert made.warnings == ()
    assert len(made.run.points) == 16
    torch.manual_seed(1)
    x, y, model = torch.randn(64, 8), torch.randn(64, 1), nn.Linear(8, 1)
    for point in made.run.points:
        loss = nn.functional.mse_loss(model(x), y)
        assert loss.item() == point.loss
        for parameter, gradient in zip(model.parameters(), torch.autograd.grad(loss, [*model.parameters()])):
            parameter.data -= point.lr * gradient
    last = nn.functional.mse_loss(model(x), y).item()
    assert made.run.final == pytest.approx(last / 2, abs=2e-6)  # at its end, and not the one of step 16
    assert made.run.auc > last  # the training loss, as ever


def test_a_program_that_does_not_end_though_it_is_told_its_steps_is_an_error(monkeypatch):
    monkeypatch.setattr(AttachedCommand, "wait", lambda command, seconds: None)
    command = (*EVALUATES, "--seed", "{seed}", "--steps", "{steps}", "--forever")
    made = bench(*command, metric_regex=REGEX[1]).run(plan(), 10, 1, lambda point: None)
    assert made.run.status == "failed"
    assert "did not end within 600 s" in made.run.error


def test_the_first_run_that_prints_no_metric_ends_the_comparison(compare):
    arguments = ("--metric-regex", "accuracy ([0-9.]+)", "--seeds", "1", "--", *EVALUATES, "--seed", "{seed}")
    code, out, err = compare(*TWO, *QUICK, *arguments)
    assert (code, out) == (3, "")
    assert "printed nothing that matches --metric-regex 'accuracy ([0-9.]+)'" in err
    assert "  step 16: val loss" in err  # its last lines
    assert "run 1/2" not in err


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (("--epochs", "15"), CommandEndedError, "ended after 15 optimizer steps, and a run takes 20 (--steps)"),
        (("--die-at", "10"), CommandFailedError, "exited with code 1 after 11 optimizer steps"),
    ],
)
def test_a_program_that_ends_before_a_run_does_says_after_how_many_steps(arguments, kind, said):
    made = bench(*PLAIN, *arguments).run(plan(), 20, 1, lambda point: None)
    assert type(made.error) is kind
    assert said in made.error.message
    assert said in made.run.error
    lines = "put {steps} in its place" if kind is CommandEndedError else "RuntimeError: the disk is full"
    assert lines in made.error.hint


COUNTS_ITS_STARTS = """
import os, signal, sys, torch
with open("starts", "a") as file:
    file.write(".")
start = os.path.getsize("starts")
w = torch.nn.Parameter(torch.ones(1))
optimizer = torch.optim.SGD([w], 0.1)
for step in range(1000):
    optimizer.zero_grad()
    (w**2).sum().backward()
    optimizer.step()
    if step == 5 and start == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if step == 5 and start == 4:
        sys.exit("the loss is too high")
"""


@pytest.mark.slow
def test_a_killed_run_is_tried_again_and_one_that_fails_later_does_not_end_the_comparison(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"schedules": ["constant", "cosine"], "lr": 0.01, "lr_mode": "shared", "steps": 20, "seeds": 1}
    found = lrscout.compare_schedulers(command=[sys.executable, "-c", COUNTS_ITS_STARTS], **settings)
    assert [run.status for run in found.runs] == ["ok", "failed"]
    told = next(warning for warning in found.record.warnings if "failed" in warning)
    assert told.startswith("A run of cosine failed (seed 1): The command exited with code 1 after ")
    assert told.endswith(" optimizer steps: the loss is too high.")


def test_what_a_run_costs_is_measured():
    cost = bench(*PLAIN, "--seed", "{seed}").measure_cost()
    assert cost.start > 10 * cost.step > 0
    assert cost.evaluation == 0


def test_without_a_rate_the_search_of_find_lr_finds_one_in_the_program():
    found = bench(*PLAIN).sweep()
    assert 1e-4 < found < 1


def test_a_program_that_is_too_short_for_the_search_is_told_to_give_a_rate():
    with pytest.raises(CommandEndedError, match="40 optimizer steps") as caught:
        bench(*PLAIN, "--epochs", "40").sweep()
    assert "--lr" in caught.value.hint


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_leaves_a_record_and_no_process(tmp_path, jobs):
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    arguments = [*TWO, "--lr", "0.01", "--lr-mode", "shared", "--steps", "20", "--seeds", "100", "--jobs", jobs]
    command = (*SEEDED, "--epochs", "1000000")
    parent = subprocess.Popen(
        [sys.executable, "-m", "lrscout", "compare-schedulers", *arguments, "-o", "run.json", *command],
        cwd=tmp_path,
        env={**os.environ, MARK: mark},
        stderr=subprocess.PIPE,
        text=True,
    )
    record, deadline = tmp_path / "run.json", time.monotonic() + 100
    while not (record.exists() and len(alive(mark)) > 2):  # the first run is done, and the next under way
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.send_signal(signal.SIGINT)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == 130, err
    assert "--resume" in err
    found = json.loads(record.read_text())
    assert (found["status"], len(found["result"]["runs"]) > 0) == ("interrupted", True)
    deadline = time.monotonic() + 10
    while alive(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(mark) == []


@pytest.mark.slow
def test_a_recipe_with_a_command_is_compared_in_its_folder(compare, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "train.py").write_text((PROGRAMS / "plain.py").read_text())
    settings = "{schedules: [constant, plateau], lr_mode: fixed, steps: 20, seeds: 1}"
    recipe = f"version: 1\ncommand: [{sys.executable}, train.py, --lr, 0.02]\ncompare_schedulers: {settings}\n"
    (tmp_path / "there" / "run.yaml").write_text(recipe)
    code, out, err = compare("--recipe", "there/run.yaml", "-o", "run.json")
    assert code == 0, err
    assert re.search(r"^constant +2\.0e-2", out, re.MULTILINE)  # the program's own rate
    assert re.search(r"^target +\S*python\S* train\.py", out, re.MULTILINE)
    assert json.loads((tmp_path / "run.json").read_text())["target"]["cwd"] == str(tmp_path / "there")


def test_in_python_a_command_stands_alone():
    with pytest.raises(UsageError, match="with a target"):
        lrscout.compare_schedulers("mymod:build", command=PLAIN)
    with pytest.raises(UsageError, match="--metric-fn cannot be used with a command"):
        lrscout.compare_schedulers(command=PLAIN, metric_fn="mymod:accuracy")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--metric-regex", "loss [0-9.]+", "--", *PLAIN), "exactly one group, not 0"),
        (("--metric-regex", "loss ([0-9.]+", "--", *PLAIN), "cannot be read"),
        (("--metric-regex", "loss ([0-9.]+)", "mymod:build"), "--metric-regex is for training commands alone"),
        (("--metric-mode", "max", "--", *PLAIN), "a --metric-fn or a --metric-regex"),
        (("--evaluations", "3", "--", *PLAIN), "--evaluations"),
        (("--", *PLAIN, "--batch", "{batch_size}"), "no value for {batch_size}"),
    ],
)
def test_what_cannot_be_asked_of_a_program_is_refused(compare, arguments, named):
    code, out, err = compare(*TWO, *arguments)
    assert (code, out) == (2, "")
    assert named in err


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("val loss ([0-9.e+-]+)", "val loss"),
        (r"step \d+: train loss [0-9.]+, val_loss\s*[:=]\s*([0-9.]+)", "val_loss"),
        ("acc@1 ([0-9.]+)", "acc@1"),
        ("([0-9.]+)", "metric"),
    ],
)
def test_a_metric_is_called_by_the_words_before_its_number(pattern, words):
    assert words_before_group(pattern) == words


def test_the_last_match_is_read_as_a_number():
    printed = Printed(re.compile("loss ([^ ]+)"))
    for line in ("loss 3", "loss 1e-1, and loss 0.5.", "nothing"):
        printed.line(line)
    assert printed.values == [3.0, 0.1, 0.5]
    assert printed.problem([]) is None
    printed.line("loss high")
    assert "'high', which is no number" in printed.problem(["loss high"]).message
