"""The command line as a user, a script and a CI log meet it."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import lrscout as package
from lrscout.cli import main
from lrscout.records import from_json
from lrscout.tracebacks import BUG

OWN_CODE = str(Path(package.__file__).parent)  # the checkout itself may be called lrscout too
TARGET = """
import torch
from torch import nn

DATA = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
WEIGHTS = torch.linspace(-1, 1, 8).unsqueeze(1)


def build(width=16, noise=0.1, name="plain"):
    target = DATA @ WEIGHTS + noise * torch.randn(256, 1)
    batches = list(zip(DATA.split(32), target.split(32)))
    model = nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 1))
    return {"model": model, "train_loader": batches, "loss_fn": nn.MSELoss(), "val_loader": batches[:2]}


def groups():
    made = build()
    first, last = made["model"][0], made["model"][2]
    made["optimizer"] = torch.optim.SGD(
        [{"params": first.parameters(), "lr": 0.01, "name": "first"}, {"params": last.parameters(), "lr": 0.1}]
    )
    return made


def printing():
    import os
    print("print in build")
    os.system("echo subprocess in build")
    made = build()
    loss_fn = made["loss_fn"]
    def noisy(output, target):
        print("print in step")
        return loss_fn(output, target)
    return {**made, "loss_fn": noisy}


def typo():
    return dict(model=build()["model"], train_loader=[], los_fn=None)


def raises():
    raise TypeError("this is the user's own mistake")


def raises_in_step():
    made = build()
    calls = []
    def loss_fn(output, target):
        calls.append(1)
        if len(calls) == 30:
            raise ZeroDivisionError("batch 30 is bad")
        return nn.functional.mse_loss(output, target)
    return {**made, "loss_fn": loss_fn}


def interrupted():
    made = build()
    calls = []
    def loss_fn(output, target):
        calls.append(1)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return nn.functional.mse_loss(output, target)
    return {**made, "loss_fn": loss_fn}


def no_loss_fn():
    return {key: part for key, part in build().items() if key != "loss_fn"}


def flat():
    made = build()
    return {**made, "loss_fn": lambda output, target: (output * 0).mean() + 1}


def empty():
    return {**build(), "train_loader": []}


def exits():
    raise SystemExit(0)


def exits_in_step():
    def loss_fn(output, target):
        raise SystemExit(0)
    return {**build(), "loss_fn": loss_fn}


def leaving():
    import atexit
    atexit.register(print, "print on leaving")
    return build()


def slow():
    import time
    made = build()
    def loss_fn(output, target):
        time.sleep(0.05)
        return nn.functional.mse_loss(output, target)
    return {**made, "loss_fn": loss_fn}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder with a module, as the current one."""
    (tmp_path / "mymod.py").write_text(TARGET)
    (tmp_path / "broken.py").write_text("import there_is_no_such_module\n")
    (tmp_path / "syntax.py").write_text("def build(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("mymod", "broken", "syntax"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tmp_path
    for name in ("mymod", "broken", "syntax"):
        sys.modules.pop(name, None)


@pytest.fixture
def lrscout(folder, capfd):
    """Run a command line in this process: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(arguments)
        return (code, *capfd.readouterr())

    return run


def process(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a process of its own."""
    command = [sys.executable, "-m", "lrscout", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})


def test_find_lr_prints_a_suggestion_a_table_and_a_plot(lrscout):
    code, out, err = lrscout("find-lr", "mymod:build", "-v")
    assert code == 0
    headline = re.search(r"^Suggested learning rate: (\d\.\de-\d)\n", out, re.MULTILINE)
    for rule in ("scout", "steepest", "valley", "slide", "minimum"):
        assert re.search(rf"^(▸| ) {rule} +\d\.\de[+-]?\d", out, re.MULTILINE), rule
    assert re.search(rf"^▸ scout +{headline[1]} ", out, re.MULTILINE)
    assert out.count("▸") == 2  # the rule, and the use that the rate is for
    assert "AdamW (default)" in out
    assert re.search(r"│.*•.*│", out)  # the plot, and below it its rates
    assert re.search(r"^ *└.*┬.*┘\n.* 1e-3 ", out, re.MULTILINE)
    assert "step 75/150" in err
    assert "Record: " in err


def test_the_answer_ends_the_output_after_the_record_and_the_warnings(folder):
    command = [sys.executable, "-m", "lrscout", "find-lr", "mymod:build", "-o", "run.json", "--val-batches", "50"]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    running = subprocess.Popen(command, cwd=folder, stdout=theirs, stderr=theirs, env={**os.environ, "NO_COLOR": "1"})
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the other end is closed
        while data := os.read(ours, 4096):
            shown += data
    os.close(ours)
    assert running.wait() == 0
    above, _, answer = shown.decode().replace("\r", "").partition("\n\nSuggested learning rate: ")
    assert "\nWarning: The val_loader has only 2" in above
    assert above.endswith("\nRecord: run.json")
    again = process("show", "run.json", cwd=folder)
    assert again.stdout.endswith(f"\n\nSuggested learning rate: {answer}")


def test_output_in_a_pipe_has_no_control_codes_and_is_at_most_100_wide(lrscout):
    _, out, err = lrscout("find-lr", "mymod:build")
    assert "\x1b" not in out + err
    assert "\r" not in out + err
    assert max(map(len, out.splitlines())) <= 100


def test_json_is_one_document_with_the_agreed_keys(lrscout):
    code, out, _ = lrscout("find-lr", "mymod:groups", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["schema"] == 1
    assert document["command"] == "find-lr"
    assert document["status"] == "ok"
    assert document["target"]["path"] == "mymod:groups"
    assert document["settings"]["steps"] == 150
    assert {"lrscout", "torch", "python", "device"} <= set(document["environment"])
    result = document["result"]
    assert {"lr", "rule", "reason", "low", "high", "groups", "use", "confidence", "doubts"} == set(result["suggestion"])
    assert result["uses"]["decay"] == result["suggestion"]["lr"] > result["uses"]["constant"]
    assert result["suggestion"]["groups"] == pytest.approx(
        [0.1 * result["suggestion"]["lr"], result["suggestion"]["lr"]]
    )
    assert set(result["suggestions"]) == {"scout", "steepest", "valley", "slide", "minimum"}
    assert set(result["points"][0]) == {"step", "lr", "loss", "smoothed_loss"}
    assert result["steps"] == len(result["coarse"]) + len(result["points"])
    assert result["stop_reason"] in ("completed", "diverged")
    assert document["warnings"] == []


def test_json_has_null_where_a_loss_is_not_finite(lrscout):
    _, out, _ = lrscout("find-lr", "mymod:groups", "--json", "--max-lr", "1e6", "--no-early-stop", "--steps", "200")
    document = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["result"]["stop_reason"] == "non_finite"
    assert document["result"]["points"][-1]["loss"] is None


def test_every_groups_rate_is_shown(lrscout):
    _, out, _ = lrscout("find-lr", "mymod:groups")
    assert re.search(r"^first\s+144\s+1\.0e-2 -> ", out, re.MULTILINE)  # by its name; by its number where it has none
    assert re.search(r"^1\s+17\s+1\.0e-1 -> ", out, re.MULTILINE)


def test_what_user_code_prints_goes_to_stderr(folder):
    done = process("find-lr", "mymod:printing", "--json", cwd=folder)
    json.loads(done.stdout)
    for text in ("print in build", "subprocess in build", "print in step"):
        assert text in done.stderr


def test_exit_handlers_of_user_code_run_and_print_to_stderr(folder):
    done = process("find-lr", "mymod:leaving", "--json", cwd=folder)
    json.loads(done.stdout)
    assert done.returncode == 0
    assert "print on leaving" in done.stderr


def test_quiet_prints_the_rate_alone(lrscout):
    code, out, err = lrscout("find-lr", "mymod:build", "--quiet")
    assert code == 0
    assert 1e-4 < float(out) < 1
    assert err == ""


def test_nothing_is_left_in_the_users_folder(lrscout, folder):
    before = {p.name for p in folder.iterdir()} | {"__pycache__"}  # Python's own
    lrscout("find-lr", "mymod:build")
    assert {p.name for p in folder.iterdir()} <= before


def test_output_and_exports_are_written(lrscout, folder):
    code, _, err = lrscout(
        "find-lr", "mymod:build", "-o", "run.json", "--export-csv", "points.csv", "--export-markdown", "run.md"
    )
    record = from_json((folder / "run.json").read_text())
    rows = list(csv.DictReader((folder / "points.csv").open()))
    assert code == 0
    assert "run.json" in err
    assert [float(row["loss"]) for row in rows] == [point.loss for point in record.result.points]
    assert "| scout |" in (folder / "run.md").read_text().replace("**", "")


@pytest.mark.parametrize("flag", ["-o", "--export-csv"])
def test_an_output_that_cannot_be_written_is_found_out_before_the_run(lrscout, flag):
    code, out, err = lrscout("find-lr", "mymod:build", flag, "nowhere/run.json")
    assert code == 2
    assert "nowhere" in err
    assert "step" not in err
    assert out == ""


def test_one_file_for_two_outputs_is_refused_before_the_run(lrscout, folder):
    code, _, err = lrscout("find-lr", "mymod:build", "-o", "run.json", "--export-csv", "./run.json")
    assert code == 2
    assert "two outputs" in err
    assert not (folder / "run.json").exists()


def test_show_draws_the_last_record_again(lrscout):
    _, first, _ = lrscout("find-lr", "mymod:build")
    code, again, _ = lrscout("show")
    assert code == 0
    assert again == first


def test_show_finds_a_record_that_was_written_elsewhere(lrscout):
    lrscout("find-lr", "mymod:build")
    lrscout("find-lr", "mymod:groups", "-o", "mine.json")
    _, out, err = lrscout("show")
    assert "mymod:groups" in out
    assert "mine.json" in err


def test_show_needs_no_torch(lrscout, folder):
    lrscout("find-lr", "mymod:build", "-o", "run.json")
    code = "import sys; from lrscout.cli import main; main(['show', 'run.json']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_show_of_something_else_is_an_error(lrscout, folder):
    (folder / "other.json").write_text("[1, 2]")
    code, out, err = lrscout("show", "other.json")
    assert (code, out) == (2, "")
    assert "not an lrscout record" in err


def test_a_missing_module_is_named(lrscout):
    code, out, err = lrscout("find-lr", "mymood:build")
    assert (code, out) == (3, "")
    assert "no module 'mymood'" in err
    assert "Traceback" not in err


def test_the_users_own_import_error_keeps_its_traceback(lrscout):
    code, _, err = lrscout("find-lr", "broken:build")
    assert code == 3
    assert 'broken.py", line 1' in err
    assert "ModuleNotFoundError: No module named 'there_is_no_such_module'" in err
    assert "no module 'broken'" not in err
    assert OWN_CODE not in err


def test_a_syntax_error_shows_its_line(lrscout):
    code, _, err = lrscout("find-lr", "syntax.py:build")
    assert code == 3
    assert "def build(:" in err


def test_a_missing_attribute_offers_the_closest(lrscout):
    code, _, err = lrscout("find-lr", "mymod:biuld")
    assert code == 3
    assert "Did you mean 'build'?" in err


def test_a_wrong_keyword_is_told_before_the_call(lrscout):
    code, _, err = lrscout("find-lr", "mymod:build", "-k", "widht=8")
    assert code == 3
    assert "Did you mean 'width'?" in err
    assert "Traceback" not in err


def test_an_unknown_key_of_a_dict_offers_the_closest(lrscout):
    code, _, err = lrscout("find-lr", "mymod:typo")
    assert code == 3
    assert "Did you mean 'loss_fn'?" in err


def test_a_type_error_inside_build_is_the_users_own(lrscout):
    code, _, err = lrscout("find-lr", "mymod:raises")
    assert code == 1
    assert "TypeError: this is the user's own mistake" in err
    assert 'mymod.py", line' in err
    assert OWN_CODE not in err


def test_an_exception_in_a_step_keeps_what_was_measured(lrscout, folder):
    code, out, err = lrscout("find-lr", "mymod:raises_in_step", "-o", "run.json")
    record = from_json((folder / "run.json").read_text())
    assert code == 1
    assert out == ""
    assert "ZeroDivisionError: batch 30 is bad" in err
    assert record.status == "failed"
    assert "ZeroDivisionError" in record.error
    assert len(record.result.points) == 29


def test_a_failure_is_still_one_json_document(lrscout):
    for target, code in (("mymod:raises_in_step", 1), ("mymod:raises", 1), ("mymod:nothing", 3), ("mymod:empty", 1)):
        got, out, _ = lrscout("find-lr", target, "--json")
        document = json.loads(out)
        assert (got, document["status"]) == (code, "failed")
        assert document["error"]


def test_a_failed_runs_record_is_shown_as_failed_with_its_error(lrscout):
    lrscout("find-lr", "mymod:raises_in_step", "-o", "run.json")
    _, out, _ = lrscout("show", "run.json")
    assert "\n\nThe run failed: ZeroDivisionError: batch 30 is bad\n" in out
    assert "Let the sweep run" not in out


def test_a_forgotten_loss_fn_is_explained_below_the_models_own_error(lrscout):
    code, _, err = lrscout("find-lr", "mymod:no_loss_fn")
    assert code == 1
    assert "TypeError" in err
    assert "add a loss_fn" in err


def test_no_row_is_marked_where_nothing_is_suggested(lrscout):
    _, out, _ = lrscout("find-lr", "mymod:flat", "-v")
    assert re.search(r"^  scout +none ", out, re.MULTILINE)
    assert "▸" not in out


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("mymod.build", "Did you mean mymod:build?"),
        ("mymod.py", "mean mymod.py:build?"),
        ("mymdo:build", "'mymod'"),
        ("two.py", "two.py:NAME, where it defines small, Large."),
        ("other.py", "There is no file other.py either."),
    ],
)
def test_a_target_that_is_nearly_right_is_put_right(lrscout, folder, target, told):
    (folder / "two.py").write_text("1 / 0  # never run\ndef small(): ...\ndef _own(): ...\nclass Large: ...\n")
    code, _, err = lrscout("find-lr", target)
    assert code == 3
    assert told in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--optimizer", "sgd", "--optimizer-arg", "lr=0.9"), "--optimizer-arg lr has no effect"),
        (("--val-batches", "50"), "only 2 of the 50"),
    ],
)
def test_an_option_that_does_less_than_it_says_is_a_warning(lrscout, arguments, told):
    code, out, err = lrscout("find-lr", "mymod:build", "--json", *arguments)
    assert code == 0
    assert told in json.loads(out)["warnings"][0]
    assert told in err


def test_a_narrow_window_wraps_no_table_and_no_plot(folder):
    done = process("find-lr", "mymod:build", "-v", cwd=folder, COLUMNS="35")
    assert max(map(len, done.stdout.splitlines())) == 35  # the plot's frame is as wide as it may be
    assert re.search(r"^▸ scout +\d\.\de-\d$", done.stdout, re.MULTILINE)
    assert re.search(r"^ *┌─+┐$", done.stdout, re.MULTILINE)


def test_ctrl_c_saves_and_shows_what_was_measured(lrscout, folder):
    code, out, _ = lrscout("find-lr", "mymod:interrupted", "-o", "run.json")
    record = from_json((folder / "run.json").read_text())
    assert code == 130
    assert record.status == "interrupted"
    assert record.result.stop_reason == "interrupted"
    assert len(record.result.coarse) + len(record.result.points) == 39
    assert re.search(r"interrupted .*\b39\b", out)
    assert re.search(r"│.*•.*│", out)


def test_an_inconclusive_sweep_says_why_and_exits_with_4(lrscout):
    code, out, _ = lrscout("find-lr", "mymod:flat")
    assert code == 4
    assert "never fell" in out
    assert "--max-lr" in out


def test_an_empty_loader_is_told(lrscout):
    code, _, err = lrscout("find-lr", "mymod:empty")
    assert code == 1
    assert "train_loader is empty" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("target", "code"), [("mymod:exits", 3), ("mymod:exits_in_step", 1)])
def test_a_target_cannot_end_the_process_with_success(lrscout, target, code):
    got, _, err = lrscout("find-lr", target)
    assert got == code
    assert "sys.exit(0)" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--steps", "two"), "steps"),
        (("--steps", "0"), "at least 3"),
        (("--min-lr", "1", "--max-lr", "0.1"), "must be below"),
        (("--precision", "fp8"), "fp32"),
        (("--rule", "scuot"), "scout"),
        (("--optimizer", "adamm"), "adam"),
        (("--optimizer", "sgd", "--optimizer-arg", "momentun=0.9"), "momentun"),
        (("--device", "cuda:77"), "cuda:77"),
        (("--json", "--quiet"), "--quiet"),
        (("-k", "width"), "width"),
        (("--stepps", "3"), "--steps"),
    ],
)
def test_bad_usage_is_told_in_few_lines_and_exits_with_2(lrscout, arguments, told):
    code, out, err = lrscout("find-lr", "mymod:build", *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert err.startswith("Error: ")
    assert len(err.splitlines()) <= 3  # whoever found it: typer, the settings or the target


@pytest.mark.parametrize("command", ["check", "tune", "run"])
def test_an_option_of_other_commands_is_told_with_their_names(lrscout, command):
    code, _, err = lrscout(command, "mymod:build", "--nproc", "2")
    hint = "It is an option of find-lr, find-batch-size and compare-schedulers: leave it out."
    assert (code, err) == (2, f"Error: No such option: --nproc.\n{hint}\n")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr-find", "find-lr"),
        ("compare", "compare-schedulers"),
        ("batch-size", "find-batch-size"),
        ("prevew", "preview"),
    ],
)
def test_a_command_that_there_is_not_is_told_with_the_one_meant(lrscout, name, meant):
    code, _, err = lrscout(name, "mymod:build")
    assert (code, err) == (2, f"Error: There is no command {name!r}.\nDid you mean {meant!r}?\n")


def test_help_is_a_command_too(lrscout):
    assert lrscout("help", "show") == lrscout("show", "--help")
    assert lrscout("help") == lrscout("--help")


def test_a_missing_target_is_a_usage_error(lrscout):
    code, _, err = lrscout("find-lr")
    assert code == 2
    assert "pkg.mod:attr" in err


def test_flags_win_over_environment_over_recipe_over_defaults(lrscout, folder, monkeypatch):
    (folder / "run.yaml").write_text(
        "version: 1\ntarget: mymod:build\nkwargs: {width: 4, name: no}\nseed: 3\n"
        "find_lr: {steps: 20, min_lr: 1e-5, smoothing: 0.5}\n"
    )
    monkeypatch.setenv("LRSCOUT_STEPS", "30")
    monkeypatch.setenv("LRSCOUT_FIND_LR_STOP_FACTOR", "7")
    monkeypatch.setenv("LRSCOUT_MIN_LR", "1e-4")
    _, out, _ = lrscout("find-lr", "--recipe", "run.yaml", "--json", "--min-lr", "1e-3", "-k", "width=6")
    document = json.loads(out)
    settings = document["settings"]
    assert (settings["min_lr"], settings["steps"], settings["stop_factor"]) == (1e-3, 30, 7.0)
    assert (settings["smoothing"], settings["seed"], settings["max_lr"]) == (0.5, 3, None)
    assert document["target"]["kwargs"] == {"width": 6, "name": "no"}


def test_a_commands_own_environment_variable_wins(lrscout, monkeypatch):
    monkeypatch.setenv("LRSCOUT_STEPS", "30")
    monkeypatch.setenv("LRSCOUT_FIND_LR_STEPS", "25")
    _, out, _ = lrscout("find-lr", "mymod:build", "--json")
    assert json.loads(out)["settings"]["steps"] == 25


def test_a_recipes_mistakes_are_all_told_with_their_place(lrscout, folder):
    (folder / "run.yaml").write_text("version: 1\ntarget: mymod:build\nfind_lr:\n  stepps: 3\n  min_lr: low\n")
    code, _, err = lrscout("find-lr", "--recipe", "run.yaml")
    assert code == 2
    assert "run.yaml:4:3" in err
    assert "run.yaml:5:11" in err


def test_a_recipe_runs_from_another_folder(lrscout, folder, monkeypatch):
    (folder / "run.yaml").write_text("version: 1\ntarget: mymod.py:build\nfind_lr: {steps: 30}\n")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert lrscout("find-lr", "--recipe", "../run.yaml")[0] == 0


def test_app_dir_is_where_the_target_is_imported_from(lrscout, folder, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("away"))
    assert lrscout("find-lr", "mymod:build", "--app-dir", str(folder), "--steps", "30")[0] == 0


def test_a_cache_folder_that_cannot_be_made_costs_a_warning_only(lrscout, folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "file"))
    code, out, err = lrscout("find-lr", "mymod:build")
    assert code == 0
    assert "Suggested" in out
    assert "Warning" in err


def test_a_named_record_needs_no_cache_folder(lrscout, folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "file"))
    code, out, err = lrscout("find-lr", "mymod:build", "-o", "run.json")
    assert code == 0
    assert "Suggested" in out
    assert "Warning" in err
    assert from_json((folder / "run.json").read_text()).status == "ok"


def test_markup_in_a_name_is_shown_as_it_is(lrscout):
    _, out, _ = lrscout("find-lr", "mymod:build", "-k", "name='[red]x[/a/b]'", "--json")
    assert json.loads(out)["target"]["kwargs"]["name"] == "[red]x[/a/b]"
    code, _, err = lrscout("find-lr", "[red]x[/a/b]:y")
    assert code == 3
    assert "[red]x[/a/b]" in err


def test_two_runs_with_one_seed_give_the_same_numbers(lrscout):
    def losses(seed: str) -> list[float]:
        return [
            p["loss"]
            for p in json.loads(lrscout("find-lr", "mymod:build", "--json", "--seed", seed)[1])["result"]["points"]
        ]

    first = losses("5")
    assert losses("5") == first
    assert losses("6") != first


def test_ascii_output_where_the_terminal_knows_no_more(folder):
    done = process("find-lr", "mymod:build", cwd=folder, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "|" in done.stdout


def test_force_color_colors_the_result_but_brings_no_progress_frames(folder):
    done = process("find-lr", "mymod:build", cwd=folder, FORCE_COLOR="1", GITHUB_ACTIONS="true")
    assert "\x1b[" in done.stdout
    assert "\x1b[?25l" not in done.stderr  # a live line hides the cursor
    assert "\x1b[2K" not in done.stderr


def test_columns_sets_the_width(folder):
    done = process("find-lr", "mymod:build", cwd=folder, COLUMNS="60")
    assert max(map(len, done.stdout.splitlines())) == 60


def test_a_reader_that_goes_away_is_neither_a_traceback_nor_a_failed_run(folder):
    reading, writing = os.pipe()
    os.close(reading)  # before the first line, as `head -1` may do after it
    command = [sys.executable, "-m", "lrscout", "find-lr", "mymod:build", "-o", "run.json"]
    done = subprocess.run(command, cwd=folder, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert "step 150/150" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
    assert from_json((folder / "run.json").read_text()).status == "ok"


def test_ctrl_c_on_the_process_ends_it_with_130(folder):
    command = [sys.executable, "-m", "lrscout", "find-lr", "mymod:slow", "--steps", "1000", "-o", "run.json"]
    running = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (folder / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)  # the record is written as the run goes
    partial = from_json((folder / "run.json").read_text())
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    record = from_json((folder / "run.json").read_text())
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert partial.status == record.status == "interrupted"
    assert len(record.result.points) >= len(partial.result.points) > 0
    assert "interrupted" in out


def test_module_and_console_script_are_the_same(folder):
    (script,) = entry_points(group="console_scripts", name="lrscout")
    run = f"import sys; from {script.module} import {script.attr}; sys.argv[0] = 'lrscout'; sys.exit({script.attr}())"
    for arguments, code in ((["--version"], 0), (["show", "nothing.json"], 2)):
        done = process(*arguments, cwd=folder)
        scripted = subprocess.run([sys.executable, "-c", run, *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == scripted.returncode == code
        assert (done.stdout, done.stderr) == (scripted.stdout, scripted.stderr)
    assert process("--version", cwd=folder).stdout == f"lrscout {package.__version__}\n"


def test_a_users_folder_may_be_called_lrscout_too(lrscout, folder, monkeypatch):
    (folder / "lrscout").mkdir()
    (folder / "lrscout" / "theirs.py").write_text(TARGET)
    for place, target in ((folder, "lrscout/theirs.py"), (folder / "lrscout", "theirs")):
        monkeypatch.chdir(place)
        sys.modules.pop("theirs", None)
        code, out, _ = lrscout("find-lr", f"{target}:build", "--quiet")
        assert (code, float(out) > 0) == (0, True)
        code, _, err = lrscout("find-lr", f"{target}:raises")
        assert code == 1
        assert re.search(r'lrscout.theirs\.py", line \d+, in raises\n', err)  # the user's frame, and no other
        assert err.count('", line ') == 1
        assert BUG not in err
    assert process("--version", cwd=folder).stdout.startswith("lrscout ")
    sys.modules.pop("theirs", None)


def test_a_cpu_with_a_number_gives_what_the_cpu_gives(lrscout):
    numbered, plain = (
        json.loads(lrscout("find-lr", "mymod:build", "--steps", "30", "--json", "--device", name)[1])
        for name in ("cpu:0", "cpu")
    )
    assert numbered["environment"]["device"] == "cpu"
    assert numbered["result"]["points"] == plain["result"]["points"]
    assert numbered["warnings"] == plain["warnings"]


def test_an_environment_variable_that_sets_nothing_is_told(lrscout, monkeypatch):
    monkeypatch.setenv("LRSCOUT_STPES", "20")
    code, out, err = lrscout("find-lr", "mymod:build", "--steps", "20", "--quiet")
    assert code == 0
    assert float(out) > 0
    assert "The environment variable LRSCOUT_STPES has no effect. Did you mean 'LRSCOUT_STEPS'?" in err


def test_a_variable_of_another_command_is_no_mistake(lrscout, monkeypatch):
    monkeypatch.setenv("LRSCOUT_JOBS", "2")
    code, _, err = lrscout("find-lr", "mymod:build", "--steps", "20", "--quiet")
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("LRSCOUT_STEPS", "many", "LRSCOUT_STEPS"),  # typer's check
        ("LRSCOUT_STEPS", "1", "LRSCOUT_STEPS 1"),  # ours
        ("LRSCOUT_FIND_LR_PRECISION", "fp8", "LRSCOUT_FIND_LR_PRECISION fp8"),
        ("LRSCOUT_REFINE", "soon", "LRSCOUT_REFINE soon"),
    ],
)
def test_a_bad_value_from_the_environment_names_its_variable(lrscout, monkeypatch, variable, value, named):
    monkeypatch.setenv(variable, value)
    code, _, err = lrscout("find-lr", "mymod:build")
    assert (code, named in err) == (2, True), err
    assert f"--{variable.rpartition('_')[2].lower()}" not in err


def test_a_bad_flag_is_named_as_a_flag_whatever_the_environment_says(lrscout, monkeypatch):
    monkeypatch.setenv("LRSCOUT_STEPS", "50")
    code, _, err = lrscout("find-lr", "mymod:build", "--steps", "1")
    assert code == 2
    assert "--steps 1 must be at least 3" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_export_that_cannot_be_written_leaves_the_result_as_it_is(lrscout, folder):
    code, out, err = lrscout("find-lr", "mymod:build", "--json", "-o", "run.json", "--export-csv", "/dev/full")
    assert code == 2
    assert "/dev/full" in err
    assert json.loads(out)["status"] == "ok"  # one document
    assert from_json((folder / "run.json").read_text()).status == "ok"
