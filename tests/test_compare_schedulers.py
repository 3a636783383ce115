"""`lrscout compare-schedulers` on workloads whose best schedule is known by construction."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import pytest
import torch

import lrscout
from lrscout.cli import main
from lrscout.errors import UsageError
from lrscout.records import from_json

TARGET = '''
import os
import signal
import time

import torch
from torch import nn


class Noise:
    def __iter__(self):
        while True:
            yield 3 * torch.randn(4, 100)


class Quadratic(nn.Module):
    """Half the squared distance from the origin, seen through noise: decay beats constant by construction."""

    def __init__(self):
        super().__init__()
        self.at = nn.Parameter(3 + torch.randn(100))

    def forward(self, noise):
        return 0.5 * (self.at**2).sum() + (self.at * noise.mean(0)).sum()


def build(delay=0.0):
    model = Quadratic()
    if delay:
        model.register_forward_hook(lambda *_: time.sleep(delay))
    return {"model": model, "train_loader": Noise(), "val_loader": [torch.zeros(4, 100)],
            "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}


def hanging():
    """One that is built after so many others waits in the middle of its run, and a file tells that it does."""
    made = build()
    with open("hanging_builds", "a") as file:
        file.write(".")
    if os.path.getsize("hanging_builds") > float(os.environ.get("HANG_AFTER", "inf")):
        calls = []
        def wait(*_):
            calls.append(1)
            if len(calls) == 20:
                open("hangs", "w").close()
                deadline = time.monotonic() + 300
                while not os.path.exists("released") and time.monotonic() < deadline:
                    time.sleep(0.02)
        made["model"].register_forward_hook(wait)
    return made


def noted():
    """Notes where its steps are taken, and with how many threads."""
    def note(*_):
        with open("steps", "a") as file:
            file.write(f"{os.getpid()} {torch.get_num_threads()}\\n")
    made = build()
    made["model"].register_forward_hook(note)
    return made


def no_val():
    return {key: part for key, part in build().items() if key != "val_loader"}


def frozen():
    return {**build(), "step": lambda model, batch: 0 * model(batch) + 1.0}


def unseeded():
    made = build()
    with torch.no_grad():
        made["model"].at += int.from_bytes(os.urandom(2), "big") / 65536
    return made


def printing():
    print("::error::from build")
    made = build()
    made["model"].register_forward_hook(lambda *_: print("::warning::from a step"))
    return made


def broken():
    made = build()
    def bad(*_):
        raise ZeroDivisionError("the third batch is bad")
    made["model"].register_forward_hook(bad)
    return made


def deadly():
    """Dies in the first run of the second schedule, every time."""
    made = build()
    def die(*_):
        if made["optimizer"].param_groups[0]["lr"] == 0.123:
            os.kill(os.getpid(), signal.SIGKILL)
    made["model"].register_forward_hook(die)
    return made


def accuracy(model, batch):
    return 1 / (1 + (model.at**2).sum())


def factory(optimizer, total_steps):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=total_steps)


def odd(step, total):
    return 1.23 if step == 3 else 1.0
'''
TWO = ("-s", "constant", "-s", "cosine")
QUICK = ("--steps", "40", "--lr", "0.3", "--device", "cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mymod.py").write_text(TARGET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mymod", raising=False)
    yield tmp_path
    sys.modules.pop("mymod", None)


@pytest.fixture
def compare(folder, capfd):
    """Run the command in this process: exit code, stdout, stderr."""

    def run(*arguments):
        capfd.readouterr()
        code = main(["compare-schedulers", *arguments])
        return (code, *capfd.readouterr())

    return run


def outcome(document):
    """What must not depend on how the runs were made."""
    for run in document["result"]["runs"]:
        del run["seconds"]
    del document["result"]["seconds"], document["settings"]["jobs"]
    return document["result"], document["settings"], document["warnings"]


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_warning_says_what_differs_between_the_seeds(shuffle):
    def build():
        torch.manual_seed(1)
        model, data = torch.nn.Linear(2, 1), torch.utils.data.TensorDataset(torch.randn(32, 2), torch.randn(32, 1))
        return model, torch.utils.data.DataLoader(data, 4, shuffle=shuffle), torch.nn.functional.mse_loss

    more = {"lr_mode": "fixed", "steps": 10, "seeds": 3, "device": "cpu", "jobs": 1}
    found = lrscout.compare_schedulers(build, schedules=["constant", "cosine"], **more).warnings
    covers = "the order of the data only" if shuffle else "only what else is random, such as dropout"
    assert sum(f"the intervals cover {covers}" in each for each in found) == 1
    assert sum("the same weights" in each for each in found) == 1


def test_decay_beats_constant_on_a_noisy_quadratic(compare):
    code, out, err = compare("mymod:build", *TWO, *QUICK, "--steps", "200")
    assert code == 0
    assert re.search(r"\n\ncosine is best; constant is worse by \d\.\d+ ± \d\.\d+\n", out)
    assert re.search(r"^cosine .* best$", out, re.MULTILINE)
    assert re.search(r"^constant .*\+\d\.\d+ ± \d\.\d+ +worse$", out, re.MULTILINE)
    assert "22 runs x 200 = 4400 steps: 2 schedules x 5 seeds, about 12 to tune" in err
    assert re.search(r"^run  1/22  constant  tuning", err, re.MULTILINE)
    assert re.search(r"^run (\d\d)/\1  cosine  seed 5  lr \d\.\de-\d  \d\.\d+", err, re.MULTILINE)


def test_averaged_weights_beat_the_last_ones_on_a_noisy_quadratic_after_the_same_training(compare):
    pair = ("-s", "constant", "-s", "constant+swa:start=0.5", "--lr-mode", "shared", "--baseline", "constant")
    code, out, _ = compare("mymod:build", *pair, *QUICK, "--steps", "200", "--json")
    result = json.loads(out)["result"]
    best, other = result["ranking"]
    assert code == 0
    assert (best["label"], best["verdict"], other["verdict"]) == ("constant+swa:start=0.5", "better", "baseline")
    assert best["params"]["swa"] == {"start": 0.5}
    assert best["final"]["mean"] < 0.2 * other["final"]["mean"]
    losses = {(r["schedule"], r["seed"]): [p["loss"] for p in r["points"]] for r in result["runs"]}
    assert len(losses) == 10
    assert all(losses["constant+swa", seed] == losses["constant", seed] for seed in range(1, 6))


def test_averaged_weights_of_two_processes_are_those_of_one(compare):
    pair = ("-s", "constant+swa", "-s", "cosine+swa:start=0", "--lr-mode", "shared", *QUICK, "--seeds", "3", "--json")
    assert outcome(json.loads(compare("mymod:build", *pair, "--jobs", "2")[1])) == outcome(
        json.loads(compare("mymod:build", *pair)[1])
    )


@pytest.mark.parametrize(
    ("target", "schedule", "told"),
    [
        ("mymod:no_val", "cosine+swa", "cosine+swa needs held-out data"),
        ("mymod:build", "plateau+swa", "its rates depend on evaluations"),
        ("mymod:build", "torch:ReduceLROnPlateau+swa", "its rates depend on evaluations"),
    ],
)
def test_where_an_average_cannot_be_judged_no_run_begins(compare, target, schedule, told):
    code, out, err = compare(target, "-s", "constant", "-s", schedule, *QUICK)
    assert (code, out) == (2, "")
    assert told in err
    assert "run  1" not in err


def test_two_identical_schedules_tie(compare):
    code, out, _ = compare("mymod:build", "-s", "cosine", "-s", "cosine:min_ratio=0", *QUICK)
    assert code == 0
    assert "\n\ncosine and cosine:min_ratio=0 tie\n" in out


def test_json_has_the_agreed_keys(compare):
    code, out, _ = compare("mymod:build", *TWO, *QUICK, "--json")
    document = json.loads(out)
    result = document["result"]
    assert (code, document["command"], document["status"]) == (0, "compare-schedulers", "ok")
    first, second = result["ranking"]
    keys = {"schedule", "label", "params", "peak_lr", "final", "difference", "verdict", "diverged", "peak_lr_range"}
    assert set(first) == keys
    assert set(first["final"]) == {"mean", "low", "high", "n"}
    assert first["peak_lr_range"]["low"] <= first["peak_lr"] <= first["peak_lr_range"]["high"]
    assert first["difference"] is None
    assert set(second["difference"]) == {"mean", "low", "high", "p_adjusted"}
    keys = {"schedule", "seed", "peak_lr", "role", "status", "final", "best", "auc", "points"}
    assert all(keys <= set(run) for run in result["runs"])
    assert set(result["runs"][0]["points"][0]) == {"step", "lr", "loss", "val_loss"}
    assert {run["role"] for run in result["runs"]} == {"tune", "score"}
    assert {run["seed"] for run in result["runs"] if run["role"] == "tune"} - {1_000_001} == {0, 1_000_000}
    assert {run["seed"] for run in result["runs"] if run["role"] == "score"} == {1, 2, 3, 4, 5}
    assert result["metric"] == {"name": "held-out loss", "mode": "min", "held_out": True}
    assert result["baseline"] == "cosine"
    assert result["paired"] is True
    assert result["steps_total"] == 40 * len(result["runs"])
    assert result["center_lr"] == 0.3


def test_within_a_seed_all_runs_begin_alike_and_seeds_differ(compare):
    _, out, _ = compare("mymod:build", *TWO, *QUICK, "--json", "--lr-mode", "shared")
    runs = json.loads(out)["result"]["runs"]
    by_seed = {}
    for run in runs:
        by_seed.setdefault(run["seed"], set()).add((run["fingerprint"], run["points"][0]["loss"]))
    assert all(len(found) == 1 for found in by_seed.values())
    assert len({next(iter(found)) for found in by_seed.values()}) == 5


def test_runs_that_begin_differently_are_told_of_and_not_paired(compare):
    _, out, err = compare("mymod:unseeded", *TWO, *QUICK)
    assert "not paired: runs start differently" in out
    assert "began with different weights" in err


def test_without_a_rate_the_sweep_suggests_one(compare):
    code, out, err = compare("mymod:build", *TWO, "--steps", "20", "--seeds", "3", "--json")
    assert code == 0
    assert "finding one with find-lr" in err
    assert 1e-7 < json.loads(out)["result"]["center_lr"] < 10


def test_where_the_sweep_suggests_no_rate_the_optimizers_own_is_used_and_the_reason_told(compare):
    code, out, err = compare("mymod:frozen", *TWO, "--steps", "20", "--seeds", "3", "--json")
    assert code == 0
    assert "suggests no rate to start from: the loss never fell" in err
    assert "Started from the optimizer's own rate, 1.0e-1; --lr sets another." in err
    assert ".." not in err
    assert json.loads(out)["result"]["center_lr"] == 0.1


def test_a_loss_that_training_does_not_move_is_told_of(compare):
    code, _, err = compare("mymod:frozen", *TWO, *QUICK)
    assert code == 0
    assert "The loss is the same under every schedule and at every rate" in err
    assert "at every peak rate" not in err


@pytest.mark.parametrize(("mode", "rate"), [("shared", 0.3), ("fixed", 0.1)])
def test_one_rate_for_all_is_told(compare, mode, rate):
    arguments = ["--steps", "40", *(["--lr", "0.3"] if mode == "shared" else [])]
    code, out, err = compare("mymod:build", *TWO, *arguments, "--lr-mode", mode, "--json")
    runs = json.loads(out)["result"]["runs"]
    assert code == 0
    assert {run["peak_lr"] for run in runs} == {rate}
    assert {row["peak_lr_range"] for row in json.loads(out)["result"]["ranking"]} == {None}
    assert len(runs) == 10
    assert "All schedules ran at one rate" in err


def test_a_factory_that_sets_rates_of_its_own_is_told_of(compare):
    code, _, err = compare("mymod:build", "-s", "constant", "-s", "mymod:factory", *QUICK, "--seeds", "3")
    assert code == 0
    assert "mymod:factory trains the same at every peak rate" in err


def test_without_held_out_data_the_training_loss_is_compared_and_labelled_so(compare):
    _, out, _ = compare("mymod:no_val", *TWO, *QUICK)
    assert "training loss, averaged over the last 5%" in out


def test_a_metric_of_the_users_own(compare):
    code, out, _ = compare(
        "mymod:build", *TWO, *QUICK, "--metric-fn", "mymod:accuracy", "--metric-mode", "max", "--json"
    )
    result = json.loads(out)["result"]
    assert code == 0
    assert result["metric"] == {"name": "mymod:accuracy", "mode": "max", "held_out": True}
    assert result["ranking"][0]["label"] == "cosine"
    assert result["ranking"][1]["difference"]["mean"] < 0


def test_a_plateau_gets_the_evaluations_it_goes_by(compare):
    plateau = "plateau:patience=0,factor=0.5,threshold=0.2"
    _, out, _ = compare("mymod:build", "-s", "constant", "-s", plateau, *QUICK, "--lr-mode", "shared", "--json")
    runs = json.loads(out)["result"]["runs"]
    evaluated = {run["label"]: sum(p["val_loss"] is not None for p in run["points"]) for run in runs}
    assert evaluated == {"constant": 2, plateau: 21}
    assert all(run["points"][-1]["lr"] < 0.3 for run in runs if run["label"] == plateau)


def test_diverged_runs_are_an_outcome_of_their_own(compare):
    code, out, _ = compare("mymod:build", *TWO, "--lr", "5", "--lr-mode", "shared", "--steps", "60")
    assert code == 4
    assert "\n\nno run finished" in out
    assert "5/5 diverged" in out


def test_json_has_null_where_a_loss_is_not_finite(compare):
    _, out, _ = compare("mymod:build", *TWO, "--lr", "1e30", "--lr-mode", "shared", "--steps", "60", "--json")
    document = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert {run["status"] for run in document["result"]["runs"]} == {"non_finite"}
    assert {run["points"][-1]["loss"] for run in document["result"]["runs"]} == {None}
    assert [row["final"] for row in document["result"]["ranking"]] == [None, None]


def test_two_seeds_only_describe(compare):
    code, out, err = compare("mymod:build", *TWO, *QUICK, "--seeds", "2")
    assert code == 0
    assert "too few runs" in out
    assert "with 2 seeds this may be chance" in out
    assert "Too few runs: with 2 seeds" in err


def test_other_processes_give_the_same_bits(compare):
    serial = json.loads(compare("mymod:build", *TWO, *QUICK, "--json")[1])
    parallel = json.loads(compare("mymod:build", *TWO, *QUICK, "--json", "--jobs", "2")[1])
    assert parallel["settings"]["jobs"] == "2"
    assert outcome(parallel) == outcome(serial)


def test_a_run_whose_process_dies_is_marked_failed_and_the_others_go_on(compare):
    schedules = ("-s", "constant", "-s", "mymod:odd")
    more = ("--lr", "0.1", "--lr-mode", "shared", "--jobs", "2", "--steps", "20", "--seeds", "3")
    code, out, err = compare("mymod:deadly", *schedules, *more)
    assert code == 0
    assert re.search(r"^mymod:odd .* failed$", out, re.MULTILINE)
    assert "every run of mymod:odd failed" in out
    assert "killed by SIGKILL" in err


def test_a_broken_target_fails_with_its_traceback_in_this_process_and_in_others(compare):
    for jobs in ("1", "2"):
        code, _, err = compare("mymod:broken", *TWO, *QUICK, "--jobs", jobs)
        assert code == 1
        assert "mymod.py" in err
        assert "ZeroDivisionError" in err
        assert "the third batch is bad" in err
        assert "engine/" not in err
        assert "measured so far" not in err  # nothing was


def noted_steps(folder):
    """The processes that took the steps of mymod:noted, and the numbers of threads that they had."""
    processes, threads = zip(*(line.split() for line in (folder / "steps").read_text().splitlines()))
    return set(map(int, processes)), set(map(int, threads))


def test_with_jobs_the_command_itself_does_not_import_torch(folder):
    code = (
        "import os, sys; from lrscout.cli import main; code = main(sys.argv[1:]);"
        "print('torch' in sys.modules, os.getpid(), code)"
    )
    command = [sys.executable, "-c", code, "compare-schedulers", "mymod:noted", *TWO, *QUICK, "--seeds", "3"]
    done = subprocess.run(
        [*command, "--lr-mode", "shared", "--jobs", "2", "--quiet"], cwd=folder, capture_output=True, text=True
    )
    imported, process, ended = done.stdout.splitlines()[-1].split()
    assert (imported, ended) == ("False", "0"), done.stderr
    processes, _ = noted_steps(folder)
    assert len(processes - {int(process)}) == len(processes) == 2


@pytest.mark.parametrize("device", ["cpu:0", "cpu"])
def test_on_any_cpu_a_run_has_one_thread(compare, folder, device):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        arguments = ("--steps", "20", "--lr", "0.3", "--lr-mode", "shared", "--seeds", "3")
        code, out, _ = compare("mymod:noted", *TWO, *arguments, "--device", device, "--json")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert (code, json.loads(out)["environment"]["device"]) == (0, "cpu")
    assert noted_steps(folder) == ({os.getpid()}, {1})


def start(folder, *arguments, **environment):
    command = [sys.executable, "-m", "lrscout", "compare-schedulers", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        **pipes,
    )


def wait_until(there, running):
    deadline = time.monotonic() + 120
    while not there():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def runs_in(path):
    return json.loads(path.read_text())["result"]["runs"] if path.exists() else []


def test_no_more_processes_look_at_the_target_than_there_are_runs(compare, monkeypatch):
    class Pool:
        def __init__(self, *_, workers, **__):
            self.workers = workers

        def run(self, requests, on_report):
            raise UsageError(f"{len(requests)} requests")

        def close(self):
            pass

    monkeypatch.setattr("lrscout.runs.comparison.executors.WorkerPool", Pool)
    for jobs, asked in (("5", 5), ("9999", 6)):
        _, _, err = compare("mymod:build", *TWO, "--seeds", "3", "--jobs", jobs)
        assert f"{asked} requests" in err


@pytest.mark.parametrize(("how", "jobs"), [(signal.SIGKILL, "1"), (signal.SIGINT, "1"), (signal.SIGKILL, "2")])
def test_a_run_that_was_killed_goes_on_where_it_was_and_ends_in_the_same_numbers(folder, compare, how, jobs):
    arguments = ["mymod:hanging", *TWO, *QUICK]
    slow = start(folder, *arguments, "-o", "run.json", "--jobs", jobs, HANG_AFTER="8")
    try:
        wait_until(lambda: (folder / "hangs").exists() and len(runs_in(folder / "run.json")) >= 5, slow)
        slow.send_signal(how)
    finally:
        (folder / "released").touch()  # processes of its own may hang too
    _, err = slow.communicate(timeout=120)
    before = from_json((folder / "run.json").read_text())
    assert before.status == "interrupted"
    assert 5 <= len(before.result.runs) < 16
    if how == signal.SIGINT:
        assert slow.returncode == 130
        assert "--resume to continue" in err
    code, out, err = compare(*arguments, "-o", "run.json", "--resume", "--json", "--jobs", jobs)
    resumed = json.loads(out)
    assert code == 0
    assert f"Reusing {len(before.result.runs)} runs" in err
    whole = json.loads(compare(*arguments, "--json")[1])
    assert resumed["result"]["ranking"] == whole["result"]["ranking"]
    assert outcome(resumed) == outcome(whole)


def test_what_a_resumed_run_has_not_come_to_yet_stays_in_its_record(folder, compare):
    arguments = ["mymod:hanging", *TWO, *QUICK, "-o", "run.json"]
    assert compare(*arguments)[0] == 0
    before = {(r.label, r.seed, r.role) for r in from_json((folder / "run.json").read_text()).result.runs}
    (folder / "hanging_builds").unlink()
    # a third schedule has to be tuned first, and its first run hangs: only the look at the target comes before it
    slow = start(folder, *arguments, "-s", "wsd", "--resume", HANG_AFTER="1")
    try:
        wait_until((folder / "hangs").exists, slow)
    finally:
        slow.kill()
        (folder / "released").touch()
        slow.communicate(timeout=120)
    after = from_json((folder / "run.json").read_text())
    assert after.status == "interrupted"
    assert before <= {(r.label, r.seed, r.role) for r in after.result.runs}


def test_resume_without_a_file_finds_the_record_of_the_same_comparison(compare):
    assert compare("mymod:build", *TWO, *QUICK, "--seeds", "3")[0] == 0
    assert compare("mymod:no_val", *TWO, *QUICK)[0] == 0  # newer, and of another
    code, _, err = compare("mymod:build", *TWO, *QUICK, "--seeds", "4", "--resume")
    assert code == 0
    assert "runs of the earlier comparison" in err
    assert len(re.findall(r"^run ", err, re.MULTILINE)) == 2


def test_a_record_of_another_comparison_is_not_resumed(compare):
    compare("mymod:build", *TWO, *QUICK, "-o", "run.json", "--seeds", "3")
    code, _, err = compare("mymod:build", *TWO, "--steps", "50", "--lr", "0.3", "-o", "run.json", "--resume")
    assert code == 2
    assert "steps was 40, is now 50" in err
    code, _, err = compare("mymod:printing", *TWO, *QUICK, "--resume")
    assert code == 2
    assert "No record of this comparison" in err


def test_a_check_that_is_not_met_exits_with_5_and_writes_junit(compare, folder):
    arguments = ("mymod:build", *TWO, *QUICK, "--steps", "200", "--junit-xml", "checks.xml")
    code, out, err = compare(*arguments, "--fail-if", "constant worse than cosine", "--expect-best", "constant")
    assert code == 5
    assert "cosine is best" in out
    assert "Check failed: constant not worse than cosine (constant is 0." in err
    assert "Check failed: best is constant (best is cosine)" in err
    suite = ElementTree.parse(folder / "checks.xml").getroot().find("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("4", "2")
    labelled = ("-s", "constant", "-s", "cosine:min_ratio=0,warmup=0", "--expect-best", "cosine:min_ratio=0,warmup=0")
    assert compare("mymod:build", *QUICK, *labelled)[0] == 0
    met = ("--fail-if", "cosine worse than constant; cosine not better than constant", "--expect-best", "wsd,cosine")
    code, _, err = compare(*arguments, "-s", "wsd", *met)
    assert code == 0
    assert "Check failed" not in err


@pytest.mark.parametrize("flag", ["--fail-if", "--expect-best"])
@pytest.mark.parametrize("text", ["", " "])
def test_a_demand_without_content_is_refused(compare, flag, text):
    code, _, err = compare("mymod:build", *TWO, *QUICK, flag, text)
    assert code == 2
    assert flag in err


def test_on_github_there_are_groups_a_summary_outputs_and_no_foreign_commands(compare, folder, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    monkeypatch.setenv("GITHUB_OUTPUT", str(folder / "output"))
    (folder / "summary.md").write_text("# before\n")
    code, out, err = compare("mymod:printing", *TWO, *QUICK, "--expect-best", "constant", "--lr-mode", "shared")
    assert code == 5
    lines = err.splitlines()
    tokens = [line.removeprefix("::stop-commands::") for line in lines if line.startswith("::stop-commands::")]
    live, acted = True, []
    for line in lines:
        if not live:
            live = line in [f"::{token}::" for token in tokens]
        elif line.startswith("::stop-commands::"):
            live = False
        elif line.startswith("::"):
            acted.append(line.split("::")[1].split(" ")[0])
    assert acted == ["group", "endgroup", "error"]
    assert "::warning::from a step" in lines
    assert "\x1b" not in out + err
    summary = (folder / "summary.md").read_text()
    assert summary.startswith("# before\n## cosine is best; constant is worse by ")
    assert "| cosine |" in summary
    assert "```text\n" in summary
    output = (folder / "output").read_text()
    assert "winner=cosine\nverdict=best\n" in output
    assert "checks=failed\n" in output  # and not only that something is best
    assert "| **failed** | best is cosine |" in summary


def test_github_off_writes_nothing_of_its_own(compare, folder, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_OUTPUT", str(folder / "output"))
    _, _, err = compare("mymod:build", *TWO, *QUICK, "--github", "off")
    assert not re.search("^::", err, re.MULTILINE)
    assert not (folder / "output").exists()


def test_a_failure_on_github_is_one_error(compare, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    code, _, err = compare("mymod:broken", *TWO, *QUICK)
    assert code == 1
    assert len(re.findall("^::error ", err, re.MULTILINE)) == 1


def test_a_budget_makes_runs_fewer_and_shorter(compare):
    arguments = ("mymod:build", *TWO, "--lr", "0.3", "--steps", "2000", "-k", "delay=0.001", "--lr-mode", "shared")
    code, out, err = compare(*arguments, "--time-budget", "3s", "--json")
    result = json.loads(out)["result"]
    assert code == 0
    assert result["seeds"] == 3
    assert 20 <= result["steps"] < 600
    assert "--time-budget 3s: 3 seeds of" in err


def test_quiet_prints_the_winner_alone(compare):
    code, out, err = compare("mymod:build", *TWO, *QUICK, "--steps", "200", "--quiet")
    assert (code, out, err) == (0, "cosine\n", "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-s", "cosine"], "at least two schedules, got 1"),
        (["-s", "cosine", "-s", "cosin"], "Did you mean 'cosine'?"),
        ([*TWO, "--jobs", "many"], "--jobs many must be auto or a number"),
        ([*TWO, "--time-budget", "soon"], "--time-budget soon is not a time"),
        ([*TWO, "--metric-mode", "max"], "--metric-mode max needs a --metric-fn"),
        ([*TWO, "--lr-mode", "fixed", "--lr", "1"], "--lr cannot be given"),
        ([*TWO, "--baseline", "wsd"], "'wsd' is not one of the schedules"),
        ([*TWO, "--fail-if", "cosine beats constant"], "not a valid condition"),
        ([*TWO, "--fail-if", "cosine worse than wsd"], "'wsd' is not one of the schedules"),
        ([*TWO, "--expect-best", "cosine", "--seeds", "2"], "need at least 3 seeds"),
        ([*TWO, "--github", "on"], "must be auto or off"),
    ],
)
def test_a_mistake_ends_with_2_before_anything_runs(compare, arguments, told):
    code, out, err = compare("mymod:build", *arguments)
    assert (code, out) == (2, "")
    assert told in err


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (["-s", "constant", "-s", "torch:CosineAnnealingLR"], 2, "T_max"),
        (["-s", "constant", "-s", "mymod:nothing"], 3, "'nothing'"),
        ([*TWO, "--metric-fn", "mymod:nothing"], 3, "'nothing'"),
    ],
)
def test_what_only_the_target_can_show_to_be_wrong_is_found_before_the_first_run(compare, arguments, exit_code, told):
    code, out, err = compare("mymod:build", *QUICK, *arguments)
    assert (code, out) == (exit_code, "")
    assert told in err
    assert not re.search("^run ", err, re.MULTILINE)


def test_a_recipe_lists_schedules_as_text_or_mappings(compare, folder):
    (folder / "run.yaml").write_text(
        "version: 1\ntarget: mymod.py:build\ncompare_schedulers:\n"
        "  schedules: [constant, {name: cosine, min_ratio: 0.1}]\n  steps: 20\n  seeds: 3\n  lr: 0.3\n  jobs: 1\n"
    )
    code, out, _ = compare("--recipe", "run.yaml", "--json")
    assert code == 0
    assert {row["label"] for row in json.loads(out)["result"]["ranking"]} == {"constant", "cosine:min_ratio=0.1"}


def test_mistakes_in_a_recipes_schedules_have_their_line_and_column(compare, folder):
    (folder / "run.yaml").write_text(
        "version: 1\ntarget: mymod.py:build\ncompare_schedulers:\n  schedules:\n    - constant\n    - cosin\n"
        "    - {name: wsd, decay: long}\n  seeds: [1]\n"
    )
    code, _, err = compare("--recipe", "run.yaml")
    assert code == 2
    assert "run.yaml:6:7: There is no schedule 'cosin'. Did you mean 'cosine'?" in err
    assert "run.yaml:7:7: wsd: decay must be" in err
    assert "run.yaml:8:10: seeds must be a whole number" in err


def test_show_draws_a_record_again(compare, capfd):
    _, out, _ = compare("mymod:build", *TWO, *QUICK, "-o", "run.json")
    assert main(["show", "run.json"]) == 0
    assert capfd.readouterr().out == out


def test_csv_has_a_line_for_every_run(compare, folder):
    compare("mymod:build", *TWO, *QUICK, "--lr-mode", "shared", "--export-csv", "runs.csv")
    lines = (folder / "runs.csv").read_text().splitlines()
    assert lines[0] == "schedule,label,seed,peak_lr,role,status,final,best,auc,seconds"
    assert len(lines) == 11


# In Python


def quadratic():
    namespace = {}
    exec(TARGET, namespace)
    return namespace["build"]()


def test_in_python_a_function_is_built_anew_for_every_run():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    result = lrscout.compare_schedulers(quadratic, schedules=["constant", "cosine"], steps=200, lr=0.3)
    assert str(result).startswith("cosine is best; constant is worse by ")
    assert torch.equal(torch.get_rng_state(), before)
    assert result.status == "ok"
    assert len({run.fingerprint for run in result.runs if run.role == "score"}) == 5
    assert "cosine" in result.plot(80)
    assert json.loads(result.to_json())["command"] == "compare-schedulers"


def test_in_python_live_objects_come_back_as_they_were():
    made = quadratic()
    at = made["model"].at.detach().clone()
    rate = made["optimizer"].param_groups[0]["lr"]
    result = lrscout.compare_schedulers(
        made, schedules=["constant", "cosine"], steps=40, lr=0.3, seeds=3, metric_fn=lambda model, batch: 1.0
    )
    assert torch.equal(made["model"].at, at)
    assert made["optimizer"].param_groups[0]["lr"] == rate
    assert [row.verdict for row in result.ranking] == ["tie", "tie"]


def test_in_python_live_objects_cannot_go_to_other_processes():
    def metric(model, batch):
        return 0.0

    with pytest.raises(UsageError, match="lambda"):
        lrscout.compare_schedulers(lambda: quadratic(), jobs=2)
    with pytest.raises(UsageError, match="metric"):
        lrscout.compare_schedulers(quadratic, metric_fn=metric, jobs=2)


def test_in_python_a_function_with_a_name_can_go_to_other_processes():
    settings = {"schedules": ["constant", "linear"], "steps": 20, "seeds": 2, "lr_mode": "shared", "lr": 0.01}
    here, there = (lrscout.compare_schedulers(quadratic, jobs=jobs, **settings) for jobs in (1, 2))
    assert [run.final for run in here.runs] == [run.final for run in there.runs]
    assert here.record.target["path"] == there.record.target["path"] == f"{__name__}:quadratic"
