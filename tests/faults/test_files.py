"""Full disks, missing homes, lost folders, misleading names: the answer is given, and no good file is lost."""

from __future__ import annotations

import importlib
import json
import os
import pwd
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import lrscout
from lrscout import files, records
from lrscout.cli import main
from lrscout.commands import run
from lrscout.files import write_text

TARGET = """
import os
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def build(batch_size=16, leave=""):
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    net, taken = nn.Linear(4, 2), []

    def loss_fn(output, target):
        taken.append(1)
        if len(taken) == 5 and leave:
            os.rmdir(leave)
        return nn.functional.cross_entropy(output, target)

    loader = DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), batch_size)
    return {"model": net, "train_loader": loader, "loss_fn": loss_fn,
            "optimizer": torch.optim.SGD(net.parameters(), lr=0.1)}
"""
SWEEP = ("--min-lr", "1e-4", "--max-lr", "1e3", "--steps", "60", "--rule", "steepest", "--quiet")
COMPARE = ("-s", "cosine", "-s", "constant", "--steps", "10", "--seeds", "1", "--lr", "0.1", "--lr-mode", "shared")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="full disks and lost folders are tried on Linux")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "small_target.py").write_text(TARGET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "small_target", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


@pytest.fixture
def full(tmp_path_factory):
    """A disk without room for another page, and a record of before on it."""
    place = tmp_path_factory.mktemp("full")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        (place / "run.json").write_text("the record of before")
        with suppress(OSError), open(place / "data", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def find_lr(*more, kwargs=()):
    return main(["find-lr", "small_target:build", *(f"-k{each}" for each in kwargs), *SWEEP, *more])


@contextmanager
def files_of_at_most(size):
    """What a quota does: a write beyond it fails. Python ignores the signal that comes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_when_it_is_met_and_the_record_goes_to_the_cache(folder, full, capfd, monkeypatch):
    monkeypatch.setattr(run, "SAVE_SECONDS", 0.0)  # a save after every step
    assert find_lr("-o", str(full / "run.json")) == 2
    out, err = capfd.readouterr()
    assert float(out) > 0
    reason = f"Cannot write {full}/run.json: No space left on device."
    first, last, hint = err.splitlines()
    assert first == f"Warning: {reason} The run goes on; lrscout will try again."
    assert last == f"Error: {reason}"
    instead = hint.removeprefix("The record is in ").removesuffix(" instead.")
    assert records.load(Path(instead)).status == "ok"
    assert (full / "run.json").read_text() == "the record of before"
    assert sorted(os.listdir(full)) == ["data", "run.json"]


def test_a_cache_on_a_full_disk_costs_only_the_record(folder, full, capfd, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(full))
    assert find_lr() == 0
    out, err = capfd.readouterr()
    assert float(out) > 0
    assert err.endswith(": No space left on device. The record is not saved.\n")
    assert list((full / "lrscout").iterdir()) == []


@pytest.mark.parametrize("export", ["csv", "markdown"])
def test_an_export_beyond_a_quota_leaves_the_file_of_before(folder, capfd, export):
    (folder / "out").write_text("the export of before")
    with files_of_at_most(1024):
        code = find_lr(f"--export-{export}", "out", "-o", "/dev/null")
    out, err = capfd.readouterr()
    assert (code, float(out) > 0) == (2, True)
    assert err == f"Error: Cannot write {folder}/out: File too large.\n"
    assert (folder / "out").read_text() == "the export of before"
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


def test_an_interrupted_run_names_no_file_that_was_not_written(folder, full, capfd, monkeypatch):
    monkeypatch.setattr(run, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(run.Run, "conclude", lambda self, *_: os.kill(os.getpid(), signal.SIGINT))
    assert find_lr("-o", str(full / "run.json")) == 130
    err = capfd.readouterr().err
    assert "Record of what was measured so far" not in err
    assert "The record is in " in err


def test_a_kill_while_a_record_is_saved_leaves_the_old_record_and_one_hidden_file(tmp_path):
    write_text(tmp_path / "run.json", "old")
    pid = os.fork()
    if pid == 0:
        try:
            files.os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
            write_text(tmp_path / "run.json", "new")
        finally:
            os._exit(1)  # not another pytest
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    hidden, record = sorted(os.listdir(tmp_path))
    assert (record, (tmp_path / record).read_text()) == ("run.json", "old")
    assert hidden.startswith(".lrscout-")
    write_text(tmp_path / "run.json", "newer")
    assert (tmp_path / "run.json").read_text() == "newer"


# No home


@pytest.fixture
def homeless(monkeypatch):
    """As a user that the machine does not know, in a container."""

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_without_a_home_the_answer_is_given_and_the_hint_says_how_to_keep_records(folder, homeless, capfd):
    assert find_lr() == 0
    out, err = capfd.readouterr()
    assert float(out) > 0
    assert err.startswith("Warning: Cannot determine the cache folder: ")
    assert err.endswith(" The record is not saved. Set XDG_CACHE_HOME.\n")


def test_without_a_home_a_named_record_is_written(folder, homeless, capfd):
    assert find_lr("-o", "run.json") == 0
    assert json.loads((folder / "run.json").read_text())["status"] == "ok"


@pytest.mark.parametrize("arguments", [["show"], ["compare-schedulers", "small_target:build", *COMPARE, "--resume"]])
def test_without_a_home_there_is_no_last_record(folder, homeless, capfd, arguments):
    assert main(arguments) == 2
    assert capfd.readouterr().err.splitlines()[1] == "Set XDG_CACHE_HOME."


@pytest.mark.parametrize("place", ["relative", "/proc/nowhere"])
def test_a_cache_that_is_relative_or_cannot_be_made_costs_nothing_else(folder, monkeypatch, capfd, place):
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    monkeypatch.setenv("HOME", str(folder / "home"))
    assert find_lr() == 0
    out, err = capfd.readouterr()
    assert float(out) > 0
    assert bool(err) == place.startswith("/")
    assert (folder / "home/.cache/lrscout/last").exists() != place.startswith("/")


# No working folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["find-lr", "small_target:build"],
        ["find-lr", "small_target:build", "-o", "run.json"],
        ["find-batch-size", "small_target:build"],
        ["compare-schedulers", "small_target:build", *COMPARE],
        ["run", "--lr", "1", "--steps", "9", "--", "python", "x.py"],
    ],
    ids=" ".join,
)
def test_a_working_folder_that_is_gone_is_said_before_anything_runs(folder, capfd, arguments):
    os.mkdir("gone")
    os.chdir("gone")
    os.rmdir(folder / "gone")
    assert main(arguments) == 2
    assert capfd.readouterr().err.startswith("Error: The folder that lrscout was started in does not exist any more.\n")


def test_a_working_folder_that_goes_away_during_the_run_costs_only_the_files_in_it(folder, capfd):
    os.mkdir("gone")
    os.chdir("gone")
    assert find_lr("--app-dir", "..", "-o", "run.json", kwargs=[f"leave={folder}/gone"]) == 2
    out, err = capfd.readouterr()
    assert float(out) > 0
    assert err.startswith(f"Error: Cannot write {folder}/gone/run.json: No such file or directory.\nThe record is in ")


# Files of the user's with the names of libraries

CONSOLE_SCRIPT = ["-P", "-c", "import sys; from lrscout.cli import entry; sys.exit(entry())"]
NAMES = ("rich", "plotext", "yaml", "typer", "json", "csv", "colorsys", "statistics")


def command(folder, start, *arguments):
    known = {"PYTHONPATH": str(Path(lrscout.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **known, "XDG_CACHE_HOME": str(folder / "cache")}
    argv = [sys.executable, *start, *arguments]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)


def add_names(folder, names):
    for name in names:
        (folder / f"{name}.py").write_text(f"raise ValueError('this is not the library {name}')")


SEARCHES = {
    "find-lr": ["find-lr", "small_target:build", *SWEEP[:-1], "--export-markdown", "out.md", "--export-csv", "out.csv"],
    "find-batch-size": [
        "find-batch-size",
        "small_target:build",
        "--device",
        "cpu",
        "--max",
        "4",
        "--objective",
        "memory",
    ],
    "compare": ["compare-schedulers", "small_target:build", *COMPARE],
    "compare in two processes": ["compare-schedulers", "small_target:build", *COMPARE, "--jobs", "2"],
}


@pytest.mark.parametrize("name", ["find-lr", *(pytest.param(name, marks=pytest.mark.slow) for name in [*SEARCHES][1:])])
def test_files_named_like_libraries_beside_the_target_do_no_harm(folder, name):
    add_names(folder, NAMES)
    done = command(folder, CONSOLE_SCRIPT, *SEARCHES[name])
    assert done.returncode == 0, done.stderr
    assert "│" in done.stdout or name.startswith("compare")


@pytest.mark.parametrize("name", ["rich", "plotext"])
def test_python_m_says_at_once_which_file_stands_in_the_place_of_a_library(folder, name):
    add_names(folder, [name])
    done = command(folder, ["-m", "lrscout"], *SEARCHES["find-lr"])
    assert (done.returncode, done.stdout) == (2, "")
    assert str(folder / f"{name}.py") in done.stderr
    assert f"ValueError: this is not the library {name}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["rich", "plotext", "yaml", "typer"])
@pytest.mark.parametrize("file", ["{}.py", "{}/__init__.py"])
def test_a_target_that_imports_a_file_named_like_a_library_of_ours_is_told_before_the_run(folder, capfd, name, file):
    path = folder / file.format(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine = 1")
    (folder / "small_target.py").write_text(f"from {name} import mine\n{TARGET}")
    ours = importlib.import_module(name)
    assert find_lr() == 3
    out, err = capfd.readouterr()
    assert (out, err.splitlines()[0]) == (
        "",
        f"Error: The target imports {path}, which has the name of a library that lrscout needs.",
    )
    assert importlib.import_module(name) is ours
