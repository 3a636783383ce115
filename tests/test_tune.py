"""tune: the searches one after the other, each started with the answers before it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lrscout
from lrscout.cli import main
from lrscout.commands.options import without_variables
from lrscout.commands.tune import READ_HERE
from lrscout.errors import UsageError
from lrscout.recipes import load_recipe
from lrscout.records import save
from lrscout.results import CommandTarget, RunRecord, Target, TunedStage, TuneResult
from lrscout.runs.tuning.earlier import earlier_stages
from lrscout.runs.tuning.recipe import check_place, recipe_text
from lrscout.runs.tuning.stages import Found, Given, seconds_for, stage_arguments, stage_key, step_settings
from lrscout.settings import COMMANDS, TuneSettings, make_settings

GIVEN = Given("mymod:build", None, ("width=8", "batch_size=4"), None, None)
TARGET = Target("mymod:build", {})
OWN_CODE = str(Path(lrscout.__file__).parent.parent)


def test_a_stage_is_started_with_the_answers_before_it():
    found = Found("batch_size", 64, 0.01, 2.5e-3)
    words = stage_arguments("schedule", GIVEN, TuneSettings(schedules=("cosine", "wsd"), seeds=3), found, None)
    told = "-k width=8 -k batch_size=64 --schedule cosine --schedule wsd --seeds 3 --lr 0.0025"
    assert " ".join(words) == f"compare-schedulers mymod:build {told}"


def test_a_stage_gets_the_settings_that_it_knows_and_no_others():
    settings = TuneSettings(horizon=2000, memory="2GiB", device="cpu", clip_norm=1.0, optimizer_arg={"momentum": 0.9})
    given = Given("mymod:build", None, (), None, None)
    size = stage_arguments("batch-size", given, settings, Found(), None)
    assert "--horizon" not in size
    assert size[size.index("--budget") + 1] == "2GiB"
    rate = stage_arguments("lr", given, settings, Found(), None)
    assert rate[rate.index("--horizon") + 1] == "2000"
    assert rate[rate.index("--optimizer-arg") + 1] == "momentum=0.9"
    assert "--budget" not in rate


def test_a_default_that_was_given_is_handed_on_since_a_recipe_may_say_otherwise():
    given = Given("mymod:build", None, (), "r.yaml", None, frozenset(["seed"]))
    words = stage_arguments("lr", given, TuneSettings(seed=0), Found(), None)
    assert words[words.index("--seed") + 1] == "0"
    assert "--seed" not in stage_arguments("lr", GIVEN, TuneSettings(seed=0), Found(), None)


def test_a_stage_is_the_same_wherever_it_takes_place():
    on_ray = TuneSettings(engine="ray", ray_address="auto", gpus_per_run=0.5, seed=0)
    given = Given("mymod:build", None, (), None, None, frozenset(["engine", "ray_address", "gpus_per_run", "seed"]))
    here = Given("mymod:build", None, (), None, None, frozenset(["seed"]))
    for stage in ("lr", "schedule"):
        assert stage_key(stage, given, on_ray, Found()) == stage_key(stage, here, TuneSettings(seed=0), Found())


def test_the_size_goes_into_a_training_command():
    given = Given(None, ("python", "train.py", "--bs", "{batch_size}"), (), None, None)
    words = stage_arguments("lr", given, TuneSettings(), Found(None, 32), None)
    assert words[words.index("--") :] == ["--", "python", "train.py", "--bs", "32"]


def test_the_time_in_which_stages_start_is_not_given_to_their_searches():
    assert seconds_for("lr", ("lr", "schedule"), 100.0, 0.0) == 25.0
    assert seconds_for("lr", ("lr", "schedule"), 100.0, 4.0) == 23.0  # two starts
    assert seconds_for("schedule", ("lr", "schedule"), 70.0, 4.0) == 66.0  # its own
    assert seconds_for("schedule", ("lr", "schedule"), 3.0, 4.0) == 0.0


def test_a_budget_limits_every_stage():
    found = Found("batch_size", 64, step_seconds=0.1, lr=1e-3)
    assert stage_arguments("batch-size", GIVEN, TuneSettings(), found, 60.0)[-2:] == ["--time-budget", "60s"]
    assert stage_arguments("lr", GIVEN, TuneSettings(), found, 60.0)[-2:] == ["--max-steps", "600"]
    assert "--max-steps" not in stage_arguments("lr", GIVEN, TuneSettings(), found, 600.0)  # more than it needs
    assert "--time-budget" in stage_arguments("schedule", GIVEN, TuneSettings(), found, 60.0)


def test_the_recipe_is_read_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = Target("sub/mymod.py:build", {"width": 8, "batch_size": 4})
    text = recipe_text(target, {"batch_size": 64}, {"device": "cpu"}, 2000, 0.00123456, "wsd:warmup=0.05", tmp_path)
    (tmp_path / "tuned.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "tuned.yaml")
    assert recipe.target == "sub/mymod.py:build"
    assert recipe.kwargs == {"width": 8, "batch_size": 64}
    assert recipe.settings_for("find_lr") == {"device": "cpu", "horizon": 2000}
    assert recipe.settings_for("run") == {"lr": 0.001235, "schedule": "wsd:warmup=0.05"}


def test_the_recipe_has_the_training_step_that_the_answers_are_for(tmp_path):
    step = step_settings(TuneSettings(device="cpu", optimizer="sgd", optimizer_arg={"momentum": 0.9}, accumulate=2))
    (tmp_path / "tuned.yaml").write_text(recipe_text(Target("m:build", {}), {}, step, None, 0.01, None, tmp_path))
    recipe = load_recipe(tmp_path / "tuned.yaml")
    for command in ("find_batch_size", "find_lr", "compare_schedulers"):
        made = make_settings(COMMANDS[command], recipe.settings_for(command))
        assert (made.device, made.optimizer, made.optimizer_arg, made.accumulate) == (
            "cpu",
            "sgd",
            {"momentum": 0.9},
            2,
        )


def test_a_module_of_another_folder_is_named_by_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("src/single.py", "src/pkg/__init__.py", "src/pkg/inside.py"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    for name, told in (
        ("single:build", "src/single.py:build"),
        ("pkg:build", "src/pkg/__init__.py:build"),
        ("pkg.inside:build", "src/pkg/inside.py:build"),
    ):
        assert f'target: "{told}"' in recipe_text(Target(name, {}, "src"), {}, {}, None, None, None, tmp_path)
    assert 'target: "single:build"' in recipe_text(Target("single:build", {}, "."), {}, {}, None, None, None, tmp_path)


def test_an_averaged_schedule_is_not_for_a_program_and_stays_out_of_its_section(tmp_path):
    text = recipe_text(Target("m:build", {}), {}, {}, None, 0.01, "constant+swa", tmp_path)
    assert 'run: {"lr": 0.01}' in text


def test_variables_of_tune_are_not_those_of_its_stages():
    known = {"LRSCOUT_BUDGET": "30s", "LRSCOUT_TUNE_SKIP": "lr", "LRSCOUT_NPROC": "2", "LRSCOUT_AGAINST": "a"}
    others = {"LRSCOUT_FIND_LR_STEPS": "200", "LRSCOUT_COLOR": "never", "HOME": "/root"}
    assert without_variables({**known, **others}, "tune", READ_HERE) == others


def saved(path: Path, seconds: float, stages: tuple[TunedStage, ...]) -> None:
    result = TuneResult(stages, None, None, None, (), "", 1.0)
    record = RunRecord("tune", "ok", TARGET.as_dict(), {}, {}, result)
    save(record, path)
    os.utime(path, (seconds, seconds))


def test_stages_are_taken_over_from_the_named_record_unless_settings_have_changed_since(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stages = []
    for number, seconds in enumerate((1000.0, 3000.0)):
        path = tmp_path / f"{number}.json"
        saved(path, seconds, ())
        stages.append(TunedStage("lr", "ok", "1e-3", "", 1.0, (f"stage{number}",), str(path)))
    saved(tmp_path / "tuned.json", 3000.0, tuple(stages))
    recipe = tmp_path / "r.yaml"
    recipe.touch()
    os.utime(recipe, (2000.0, 2000.0))
    assert set(earlier_stages(TARGET, tmp_path / "tuned.json", None)) == {("stage0",), ("stage1",)}
    assert set(earlier_stages(TARGET, tmp_path / "tuned.json", recipe)) == {("stage1",)}
    with pytest.raises(UsageError, match="No tuning of this target"):
        earlier_stages(TARGET, None, None)


def test_a_recipe_of_a_command_stands_in_its_folder(tmp_path):
    check_place(CommandTarget(("python", "train.py"), str(tmp_path)), tmp_path / "tuned.yaml")
    with pytest.raises(UsageError, match="runs in the recipe's folder"):
        check_place(CommandTarget(("python", "train.py"), str(tmp_path)), tmp_path / "elsewhere" / "tuned.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--skip", "sizes"], "none of the stages"),
        (["--skip", "check", "--skip", "lr", "--skip", "schedule", "--skip", "batch-size"], "leaves no stage"),
        (["--budget", "soon"], "--budget"),
        (["--resume"], "No tuning of this target found"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["tune", "mymod:build", *arguments]) == 2
    assert message in capsys.readouterr().err


def run(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    known = {"PYTHONPATH": OWN_CODE, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache"), **more}
    words = [sys.executable, "-m", "lrscout", *arguments]
    return subprocess.run(
        words, cwd=folder, env={**os.environ, **known}, capture_output=True, text=True, timeout=400, check=False
    )


@pytest.mark.slow
def test_from_an_empty_folder_to_lines_that_train(tmp_path):
    assert run(tmp_path, "init").returncode == 0
    done = run(
        tmp_path, "tune", "--device", "cpu", "--seeds", "3", "-s", "constant", "-s", "cosine", "-o", "tuned.yaml"
    )
    assert done.returncode == 0, done.stderr
    assert "Batch size" in done.stdout
    text = done.stdout.splitlines()
    lines = text[next(at for at, line in enumerate(text) if line.startswith("optimizer = ")) :]
    assert lines[0].startswith("optimizer = torch.optim.AdamW(model.parameters(), lr=")
    training = (
        "import math, torch, tuning\n"
        "parts = tuning.build(); model = parts['model']; total_steps = 100\n" + "\n".join(lines) + "\n"
        "data, losses = iter([]), []\n"
        "for step in range(total_steps):\n"
        "    batch = next(data, None)\n"
        "    if batch is None:\n"
        "        data = iter(parts['train_loader']); batch = next(data)\n"
        "    loss = parts['loss_fn'](model(batch[0]), batch[1]); losses.append(loss.item())\n"
        "    optimizer.zero_grad(); loss.backward(); optimizer.step()\n"
        "    if 'scheduler' in globals(): scheduler.step()\n"
        "print(losses[0], sum(losses[-10:]) / 10)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", training], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=True
    ).stdout
    first, last = map(float, out.split())
    assert math.isfinite(last)
    assert last < 0.7 * first
    # every command reads the recipe, and --resume takes everything over
    assert run(tmp_path, "find-lr", "--recipe", "tuned.yaml", "-q").returncode == 0
    again = run(
        tmp_path, "tune", "--device", "cpu", "--seeds", "3", "-s", "constant", "-s", "cosine", "--resume", "--json"
    )
    assert again.stderr.count("Taken over") == 4, again.stderr
    before, after = (json.loads(p.read_text()) for p in sorted((tmp_path / "cache/lrscout").glob("*-tune-*.json")))
    assert after["result"]["lr"] == before["result"]["lr"]


@pytest.mark.slow
def test_a_stage_that_fails_ends_the_tuning_with_what_to_do(tmp_path):
    (tmp_path / "mymod.py").write_text("def build(batch_size=4):\n    raise ValueError('broken')\n")
    done = run(tmp_path, "tune", "mymod:build", "--device", "cpu")
    assert done.returncode == 1
    assert "ValueError: broken" in done.stderr
    assert "--skip check" in done.stderr


@pytest.mark.slow
def test_a_check_that_fails_ends_the_tuning_with_its_table(tmp_path):
    assert run(tmp_path, "init").returncode == 0
    text = (tmp_path / "tuning.py").read_text()
    (tmp_path / "tuning.py").write_text(text.replace("nn.Linear(width, 4))", "nn.Linear(width, 4), nn.Softmax(dim=1))"))
    done = run(tmp_path, "tune", "--device", "cpu")
    assert done.returncode == 5
    assert "initial-loss" in done.stderr
    assert "--skip check" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="signals")
def test_the_record_of_a_tuning_that_is_interrupted_says_what_was_trained_on(tmp_path):
    assert run(tmp_path, "init").returncode == 0
    command = [sys.executable, "-m", "lrscout", "tune", "--device", "cpu", "--skip", "check", "--skip", "batch-size"]
    known = {"PYTHONPATH": OWN_CODE, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with subprocess.Popen(
        [*command, "-o", "run.json"], cwd=tmp_path, env={**os.environ, **known}, stderr=subprocess.PIPE, text=True
    ) as running:
        assert any("sweep  step" in line for line in running.stderr)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    record = json.loads((tmp_path / "run.json").read_text())
    assert (running.returncode, record["status"], record["environment"]["device"]) == (130, "interrupted", "cpu")
    assert [stage["status"] for stage in record["result"]["stages"]] == ["interrupted"]
