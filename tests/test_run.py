"""run: a program trained to its end under a schedule of lrscout's, as its user meets it."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attaching import MARK, PROGRAMS, alive, plain_reference

import lrscout
from lrscout.cli import main
from lrscout.errors import LrscoutError, UsageError
from lrscout.records import from_json, save
from lrscout.results import (
    CompareResult,
    FinalMetric,
    LrResult,
    Metric,
    OptimizerResult,
    RankedSchedule,
    RunRecord,
    Suggestion,
)
from lrscout.schedules import parse_schedule
from lrscout.search.training import follow_training

PLAIN = (sys.executable, str(PROGRAMS / "plain.py"))
SAVES = (sys.executable, str(PROGRAMS / "saves.py"))
STEPS = 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are supervised on Linux")


@pytest.fixture(autouse=True)
def one_thread_each(one_thread, monkeypatch):
    """Here as in the programs, which would slow each other down: the last digits depend on it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)

    def command_line(*arguments: str) -> tuple[int, str, str]:
        code = main(["run", *arguments])
        return (code, *capfd.readouterr())

    return command_line


def rates(schedule: str, peak: float, steps: int, total: int) -> list[float]:
    spec = parse_schedule(schedule)
    return [peak * spec(step, total) for step in range(steps)]


def record_of(path: str = "run.json"):
    return from_json(Path(path).read_text())


# The training


def test_the_losses_are_those_of_a_plain_loop_under_the_schedule(run):
    arguments = ("--lr", "2e-2", "-s", "wsd:warmup=0.1", "--steps", str(STEPS))
    code, out, err = run(*arguments, "--json", "--export-csv", "run.csv", "--", *PLAIN, "--epochs", "{steps}")
    document = json.loads(out)  # and nothing of what the program prints
    lrs = rates("wsd:warmup=0.1", 2e-2, STEPS, STEPS)
    assert code == 0
    assert [point["lr"] for point in document["result"]["points"]] == lrs
    assert [point["loss"] for point in document["result"]["points"]] == plain_reference(lrs)
    assert document["result"]["steps_taken"] == STEPS
    assert (document["status"], document["warnings"]) == ("ok", [])
    assert document["target"]["command"] == [*PLAIN, "--epochs", "{steps}"]
    assert "epoch 0 loss" in err
    assert "done in" in err
    table = list(csv.reader(Path("run.csv").read_text().splitlines()))
    assert (table[0], len(table)) == (["step", "lr", "loss"], 1 + STEPS)


def test_a_program_that_goes_on_keeps_the_last_rate_and_is_not_ended(run):
    more = STEPS + 15
    arguments = ("--lr", "1e-2", "-s", "linear", "--steps", str(STEPS), "-o", "run.json")
    code, out, err = run(*arguments, "--", *PLAIN, "--epochs", str(more))
    result = record_of().result
    lrs = rates("linear", 1e-2, more, STEPS)
    assert code == 0
    assert [point.loss for point in result.points] == plain_reference(lrs)
    assert result.points[-1].lr == lrs[STEPS - 1]
    assert err.count("goes on at its last rate") == 1
    assert "done in" in err
    assert f"{more} taken, 15 of them after the end of the schedule" in out


def test_a_program_that_ends_early_is_told_how_many_steps_it_took(run):
    code, out, err = run("--lr", "1e-2", "--steps", "200", "--quiet", "--", *PLAIN, "--epochs", "12")
    assert code == 0
    assert float(out) == pytest.approx(plain_reference(rates("cosine:warmup=0.05", 1e-2, 12, 200))[-1], rel=1e-5)
    assert "ended after 12 steps" in err
    assert "--steps 12" in err
    assert "epoch 0" not in err


def test_a_program_that_fails_passes_its_code_on_and_leaves_the_points_so_far(run, capfd):
    command = ("bash", "-c", f"{sys.executable} {PLAIN[1]} --die-at 14 || exit 7")
    code, out, err = run("--lr", "1e-2", "--steps", "200", "-o", "run.json", "--", *command)
    record = record_of()
    assert code == 7
    assert err.count("RuntimeError: the disk is full") == 1
    assert (record.status, record.result.exit_code, record.result.steps_taken) == ("failed", 7, 15)
    assert [point.loss for point in record.result.points] == plain_reference(rates("cosine:warmup=0.05", 1e-2, 15, 200))
    assert "exited with code 7 after 15 optimizer steps" in out
    assert main(["show", "run.json"]) == 0
    assert capfd.readouterr()[0] == out


def test_a_program_that_a_signal_kills_gives_the_code_of_a_shell(run):
    code, _, err = run("--lr", "1", "--steps", "9", "-q", "--", sys.executable, "-c", KILLS_ITSELF)
    assert code == 128 + signal.SIGTERM
    assert "killed by SIGTERM" in err
    assert "I was here" in err  # the last lines, since --quiet has shown none


def test_a_program_that_fails_before_its_first_step_passes_its_code_on(run):
    code, out, err = run("--lr", "1e-2", "--steps", "9", "--json", "--", *PLAIN, "--epochs", "many")
    assert code == 2
    assert "invalid int value: 'many'" in err
    assert json.loads(out)["status"] == "failed"


def test_what_a_script_does_after_the_training_is_waited_for_and_loggers_stay_on(run, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    script = (
        f"{sys.executable} {PLAIN[1]} --epochs 5; sleep 2.5; echo evaluated, wandb is ${{WANDB_MODE:-none}}; exit 3"
    )
    code, _, err = run("--lr", "1e-2", "--steps", "5", "--", "bash", "-c", script)
    assert code == 3
    assert "evaluated, wandb is none" in err


TRAINS = """
import torch
w = torch.nn.Parameter(torch.ones(1))
o = torch.optim.SGD([w], 0.1)
for _ in range({steps}):
    o.zero_grad()
    w.square().sum().backward()
    o.step()
"""
KILLS_ITSELF = TRAINS.format(steps=5) + "import os; print('I was here', flush=True); os.kill(os.getpid(), 15)"


PHASES = """
import torch
w = torch.nn.Parameter(torch.ones(1))
for steps in (10, 12_000):
    o = torch.optim.SGD([w], 0.0)
    for _ in range(steps):
        o.zero_grad()
        w.sum().backward()
        o.step()
print("all phases done")
"""
DECAYS = """
import torch
w = torch.nn.Parameter(torch.ones(1))
o = torch.optim.SGD([w], 0.1, momentum=0.5)
for step in range(4):
    o.param_groups[0].update(momentum=0.5 + step / 10, weight_decay=step / 100)
    w.sum().backward()
    o.step()
    print(o.param_groups[0]["momentum"], o.param_groups[0]["weight_decay"], o.param_groups[0]["lr"])
"""


def test_a_training_in_two_phases_is_not_ended_in_the_second(run):
    code, _, err = run("--lr", "0.1", "-s", "constant", "--steps", "10", "--", sys.executable, "-c", PHASES)
    assert code == 0
    assert "all phases done" in err


def test_a_script_that_trains_twice_is_not_kept_waiting(run):
    train = f"{sys.executable} {PLAIN[1]} --epochs 5"
    code, _, err = run("--lr", "1e-2", "--steps", "5", "--", "bash", "-c", f"{train} && {train}")
    assert code == 0
    assert err.count("done in") == 2


def test_the_programs_own_schedules_of_momentum_and_weight_decay_go_on(run):
    _, _, err = run("--lr", "0.2", "-s", "constant", "--steps", "4", "--", sys.executable, "-c", DECAYS)
    assert "0.5 0.0 0.2" in err
    assert "0.8 0.03 0.2" in err


def test_a_length_that_nobody_gave_is_asked_for(run, tmp_path):
    save(find_lr_record(horizon=400), tmp_path / "lr.json")
    code, _, err = run("--from", "lr.json")
    assert code == 2
    assert "--steps" in err


# Ends


def interrupted(
    command: tuple[str, ...], cwd: Path, mark: str, times: int = 1, number: int = signal.SIGINT
) -> tuple[int, str, str]:
    """`lrscout run` of a program, with signals in the middle of its training."""
    argv = [sys.executable, "-m", "lrscout", "run", "--lr", "1e-3", "--steps", "1000000", "-o", "run.json"]
    environment = {**os.environ, MARK: mark, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [*argv, "--", *command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        err = ""
        while "training" not in err and (line := running.stderr.readline()):
            err += line
        running.send_signal(number)
        while times > 1 and "by force" not in err and (line := running.stderr.readline()):
            err += line
        if times > 1:
            time.sleep(0.3)  # two in the same moment are taken for one
            running.send_signal(number)
        out, rest = running.communicate(timeout=60)
    return running.returncode, out, err + rest


def test_ctrl_c_lets_the_program_save_its_state(tmp_path, mark):
    code, out, err = interrupted(SAVES, tmp_path, mark)
    record = record_of(tmp_path / "run.json")
    assert code == 130, err
    assert "saved after some steps" in err
    assert "Traceback" not in err
    assert "Interrupted after" in out
    assert (record.status, record.result.exit_code) == ("interrupted", 0)
    assert record.result.points
    assert alive(mark) == []


def test_a_second_ctrl_c_ends_a_program_that_ignores_the_first(tmp_path, mark):
    code, _, err = interrupted((*SAVES, "--ignore"), tmp_path, mark, times=2)
    assert code == 130, err
    assert "saved" not in err
    assert record_of(tmp_path / "run.json").status == "interrupted"
    assert alive(mark) == []


def test_sigterm_reaches_the_program_as_such(tmp_path, mark):
    code, _, err = interrupted(SAVES, tmp_path, mark, number=signal.SIGTERM)
    record = record_of(tmp_path / "run.json")
    assert code == 128 + signal.SIGTERM
    assert "saved" not in err  # this one saves on SIGINT alone
    assert (record.status, record.result.exit_code) == ("interrupted", 128 + signal.SIGTERM)
    assert record.result.points


def test_the_parent_does_not_import_torch():
    arguments = ["run", "--lr", "1e-2", "--steps", "5", "--", *PLAIN, "--epochs", "5"]
    code = f"import sys; from lrscout.cli import main; main({arguments!r}); print('HEAVY', 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "HEAVY False" in done.stdout, done.stderr


# Where rate, schedule and steps come from


def find_lr_record(lr: float | None = 3e-3, use="decay", horizon=30, command=PLAIN, others=(), status="ok", **settings):
    suggestion = Suggestion(lr, "scout", "the loss is flat", use=use)
    result = LrResult(suggestion, {}, (), "completed", 1, 1.0, others=others)
    target = {"command": list(command), "cwd": str(PROGRAMS)} if command else {"path": "mymod:build"}
    return RunRecord("find-lr", status, target, {"horizon": horizon, "use": use, **settings}, {}, result)


FINAL = FinalMetric(0.5, 0.4, 0.6, 5)


def comparison_record(final: FinalMetric | None = FINAL):
    best = RankedSchedule("wsd", "wsd:warmup=0.1", {}, 7e-3, final, None, "best", 0)
    result = CompareResult((best,), (), Metric("training loss", "min", False), None, True, 1, 25, 5, None, 1.0)
    target = {"command": [*PLAIN, "--epochs", "{steps}"], "cwd": str(PROGRAMS)}
    return RunRecord("compare-schedulers", "ok", target, {}, {}, result)


def test_a_find_lr_record_has_all_that_a_training_needs(run):
    save(find_lr_record(command=(*PLAIN, "--epochs", "{steps}")), Path("lr.json"))
    code, out, _ = run("--from", "lr.json", "--json")
    document = json.loads(out)
    result, target = document["result"], document["target"]
    assert code == 0
    assert (result["peak_lr"], result["schedule"], result["steps"]) == (3e-3, "cosine:warmup=0.05", 30)
    assert [point["lr"] for point in result["points"]] == rates("cosine:warmup=0.05", 3e-3, 30, 30)
    assert (target["command"], target["cwd"]) == ([*PLAIN, "--epochs", "{steps}"], str(PROGRAMS))
    assert document["settings"]["lr"] == 3e-3


def test_what_was_found_is_run_again_in_python(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    save(comparison_record(), Path("compare.json"))
    answer = lrscout.run(record="compare.json", steps=30)
    assert (answer.result.schedule, answer.result.peak_lr, answer.result.steps) == ("wsd:warmup=0.1", 7e-3, 30)
    assert [point.loss for point in answer.points] == plain_reference(rates("wsd:warmup=0.1", 7e-3, 30, 30))
    assert (answer.exit_code, answer.status) == (0, "ok")
    assert "learning rate" in answer.plot(width=60)
    assert str(answer).startswith("Trained 30 steps with wsd:warmup=0.1, peak 7.0e-3: loss 1.251 -> ")
    assert "done in" in capfd.readouterr()[1]


def test_flags_win_over_the_recipe_and_the_recipe_over_the_record(run):
    save(comparison_record(), Path("compare.json"))
    Path("run.yaml").write_text(
        f"version: 1\ncommand: [{', '.join(PLAIN)}, --epochs, 3]\nrun: {{lr: 1e-4, steps: 6}}\n"
    )
    code, out, _ = run("--from", "compare.json", "--recipe", "run.yaml", "--steps", "3", "--json")
    document = json.loads(out)
    assert code == 0
    assert [document["settings"][name] for name in ("lr", "schedule", "steps")] == [1e-4, "wsd:warmup=0.1", 3]
    assert document["target"]["command"][-1] == "3"


@pytest.fixture
def filled(monkeypatch):
    """The settings and warnings with which a program would be trained."""
    from lrscout.runs.training.recorded import warnings_about, with_recorded
    from lrscout.settings import RunSettings

    def found(record, **given):
        settings = with_recorded(RunSettings(**given), record, "it")
        return settings, warnings_about(settings, record)

    return found


def test_a_constant_rate_is_used_as_one(filled):
    settings, _ = filled(find_lr_record(use="constant"))
    assert settings.schedule == "constant"


def test_a_rate_for_another_length_of_training_is_used_with_a_warning(filled):
    settings, (warning,) = filled(find_lr_record(), steps=240)
    assert (settings.lr, settings.steps) == (3e-3, 240)
    assert "suggested for 30 steps" in warning
    assert "--lr 0.0015" in warning
    assert filled(find_lr_record(), steps=240, lr=1e-3)[1] == []


def test_of_several_optimizers_the_others_keep_their_rates_as_in_the_search(filled):
    other = OptimizerResult(2, "Adam", (), find_lr_record().result)
    assert filled(find_lr_record(others=(other,)))[0].optimizer == "1"
    assert filled(find_lr_record(others=(other,)), optimizer="all")[0].optimizer == "all"
    assert filled(find_lr_record(optimizer="2"))[0].optimizer == "2"
    assert filled(find_lr_record(command=None, optimizer="adamw"))[0].optimizer is None  # the class of a target's


def test_an_unfinished_record_is_used_with_a_warning(filled):
    assert "not finished" in filled(find_lr_record(status="interrupted"))[1][0]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (find_lr_record(lr=None, status="inconclusive"), "the loss is flat"),
        (comparison_record(final=None), "compare-schedulers found none"),
        (dataclasses.replace(comparison_record(), result=None, status="failed", error="no disk"), "no disk"),
        (RunRecord("find-batch-size", "ok", {}, {}, {}, None), "find-batch-size, which has no learning rate"),
    ],
)
def test_a_record_without_an_answer_is_an_error(filled, record, said):
    with pytest.raises(UsageError, match=said):
        filled(record)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (find_lr_record(horizon="x"), "steps must be a whole number, not 'x'"),
        (
            dataclasses.replace(find_lr_record(), target={"command": ["true"]}),
            "its values contradict each other (KeyError: 'cwd')",
        ),
        (
            dataclasses.replace(find_lr_record(use=None), settings={"use": [1]}),
            "its values contradict each other (TypeError",
        ),
    ],
)
def test_a_record_whose_values_cannot_be_used_is_an_error(run, record, said):
    save(record, Path("odd.json"))
    code, _, err = run("--from", "odd.json")
    assert code == 2
    assert f"Error: odd.json cannot be used: {said}" in err
    with pytest.raises(UsageError, match=re.escape(f"odd.json cannot be used: {said}")):
        lrscout.run(record="odd.json")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--lr", "1", "--steps", "5"), "No training command"),
        (("--lr", "1", "--steps", "5", "mymod:build"), "mymod:build is a function"),
        (("--steps", "5", "--", *PLAIN), "--lr"),
        (("--lr", "1", "--", *PLAIN), "--steps"),
        (("--lr", "1", "--steps", "5", "-s", "cosin", "--", *PLAIN), "'cosine'"),
        (("--lr", "1", "--steps", "5", "--", "python", "x.py", "--b={batch_size}"), "{batch_size}"),
        (("--from", "build.json"), "mymod:build"),
        (("--from", "nowhere.json"), "nowhere.json"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_runs(run, arguments, named):
    save(find_lr_record(command=None), Path("build.json"))
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert named in err


def test_in_python_a_failing_program_is_a_result_and_one_that_never_steps_an_error(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    answer = lrscout.run([*PLAIN, "--die-at", "3"], lr=1e-2, schedule="constant", steps=9)
    assert (answer.status, answer.exit_code, len(answer.points)) == ("failed", 1, 4)
    with pytest.raises(LrscoutError, match="optimizer"):
        lrscout.run([sys.executable, "-c", "pass"], lr=1e-2, steps=9)
    with pytest.raises(UsageError, match="No training command"):
        lrscout.run(lr=1e-2, steps=9)


# The loop, with a fake session


class EndedError(Exception):
    """The program has ended."""


class FakeProgram:
    """A program of some steps, whose losses arrive late and the last of them with its end."""

    def __init__(self, losses: list[float], late: int) -> None:
        self._losses, self._late = losses, late
        self._taken = self._given = 0

    def step(self) -> None:
        if self._taken >= len(self._losses) + self._late:  # steps that it never came to
            raise EndedError
        self._taken += 1

    def losses(self, wait: bool = False) -> list[float]:
        return self._upto(self._taken if wait else self._taken - self._late)

    def arrived(self) -> list[float]:
        return self._upto(len(self._losses))

    def _upto(self, end: int) -> list[float]:
        found, self._given = self._losses[self._given : max(end, self._given)], max(end, self._given)
        return found


class FakeSchedule:
    def __init__(self, needs_metric: bool = False) -> None:
        self.needs_metric = needs_metric
        self.metrics: list[float] = []

    def before_step(self, step: int) -> float:
        return float(step)

    def after_evaluation(self, metric: float) -> None:
        self.metrics.append(metric)


@pytest.mark.parametrize("late", [0, 1, 7])
def test_every_step_has_its_rate_and_its_loss_to_the_last(late):
    losses = [math.sqrt(step) for step in range(30)]
    told: list[tuple[float, float]] = []
    with pytest.raises(EndedError):
        follow_training(FakeProgram(losses, late), FakeSchedule(), 20, lambda *step: told.append(step))
    assert told == [(float(step), loss) for step, loss in enumerate(losses)]


def test_a_schedule_that_needs_a_metric_gets_the_mean_loss_twenty_times():
    schedule = FakeSchedule(needs_metric=True)
    losses = [float(step) for step in range(50)]
    with pytest.raises(EndedError):
        follow_training(FakeProgram(losses, 3), schedule, 40, lambda *step: None)
    assert schedule.metrics == [2 * k + 0.5 for k in range(20)]  # and none after the end of the schedule
