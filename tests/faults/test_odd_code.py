"""User code that ends, floods, blocks or changes its process: the answer stands, or the end is told."""

from __future__ import annotations

import json
import locale
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest
import torch
from lrscout_process import run, start

from lrscout.cli import main
from lrscout.tracebacks import BUG

TARGET = """
import ctypes, locale, os, random, signal, subprocess, sys, threading, time, warnings

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def crash():
    ctypes.string_at(0)


def fork():
    if os.fork() == 0:
        time.sleep(30)
        os._exit(0)


ODDITIES = {
    "nothing": lambda: None,
    "segfault": crash,
    "abort": os.abort,
    "exit": lambda: os._exit(7),
    "sys.exit": lambda: sys.exit("done"),
    "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt),
    "ask": lambda: input("name? "),
    "print": lambda: print(("x" * 1023 + "\\\\n") * 1024),
    "descriptor": lambda: os.write(1, b"raw"),
    "child": lambda: subprocess.run(["echo", "child"]),
    "stdout": lambda: setattr(sys, "stdout", None),
    "thread": lambda: threading.Thread(target=time.sleep, args=(1000,)).start(),
    "fork": fork,
    "handlers": lambda: [signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM)],
    "folder": lambda: os.chdir("/"),
    "threads": lambda: torch.set_num_threads(1),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "warnings": lambda: warnings.simplefilter("error"),
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C"),
    "recursion": lambda: sys.setrecursionlimit(400),
    "device": lambda: torch.set_default_device("cpu"),
    "argv": lambda: setattr(sys, "argv", None),
    "float64": lambda: torch.set_default_dtype(torch.float64),
    "gradients": lambda: torch.set_grad_enabled(False),
    "meta": lambda: torch.set_default_device("meta"),
}


def build(what, where="build", batch_size=8):
    if where == "build":
        ODDITIES[what]()
    inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float32, device="cpu")
    model, taken = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)), []

    def step(batch):
        taken.append(batch)
        if len(taken) == 5 and where == "step":
            ODDITIES[what]()
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    data = TensorDataset(inputs, (inputs.sum(1) > 0).long())
    return {"model": model, "train_loader": DataLoader(data, batch_size=batch_size), "step": step}
"""
FIND = ("--min-lr", "1e-3", "--max-lr", "1", "--steps", "60")
COMPARE = ("-s", "cosine", "-s", "constant", "--steps", "10", "--seeds", "1", "--lr", "0.01", "--lr-mode", "shared")
SIZES = ("--min", "8", "--max", "16", "--objective", "memory", "--timeout", "60")
CHANGES = (
    "stdout",
    "folder",
    "threads",
    "deterministic",
    "anomaly",
    "warnings",
    "locale",
    "recursion",
    "device",
    "argv",
)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "odd.py").write_text(TARGET.replace("\\\\n", "\\n"), encoding="utf-8")
    return tmp_path


@pytest.fixture
def lrscout(folder, monkeypatch, capfd):
    """Run a command in this process: exit code, stdout, stderr; everything that the target changed is put back."""
    monkeypatch.chdir(folder)
    for name in ("path", "argv", "stdout"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setattr(sys, "path", [*sys.path])
    threads, limit, environment = torch.get_num_threads(), sys.getrecursionlimit(), dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    spoken = locale.setlocale(locale.LC_ALL)

    def called(command: str, *arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([command, f"{folder / 'odd.py'}:build", *arguments, "--device", "cpu"])
        return (code, *capfd.readouterr())

    with warnings.catch_warnings():
        yield called
    sys.modules.pop("odd", None)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    locale.setlocale(locale.LC_ALL, spoken)
    sys.setrecursionlimit(limit)
    os.environ.clear()
    os.environ.update(environment)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def result_of(out: str) -> object:
    return json.loads(out)["result"]["suggestion"]["lr"]


@pytest.mark.parametrize("where", ["build", "step"])
@pytest.mark.parametrize("what", CHANGES)
def test_what_the_target_changes_in_its_process_leaves_the_answer_as_it_is(lrscout, what, where):
    _, plain, _ = lrscout("find-lr", *FIND, "--json", "-k", "what=nothing")
    code, out, err = lrscout("find-lr", *FIND, "--json", "-k", f"what={what}", "-k", f"where={where}")
    assert (code, result_of(out)) == (0, result_of(plain)), err
    assert "Traceback" not in err


@pytest.mark.parametrize("where", ["build", "step"])
def test_a_megabyte_of_output_stays_out_of_the_result(lrscout, where):
    code, out, err = lrscout("find-lr", *FIND, "-k", "what=print", "-k", f"where={where}", "--quiet")
    assert (code, float(out) > 0) == (0, True)
    assert err.count("x" * 1023 + "\n") == 1024


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("float64", "must have the same dtype, but got Float and Double"),
        ("gradients", "look for torch.set_grad_enabled(False)"),
        ("meta", "The parameter '0.weight' is on the meta device and has no values."),
    ],
)
def test_a_default_under_which_nothing_can_be_trained_is_told(lrscout, what, told):
    code, _, err = lrscout("find-lr", *FIND, "-k", f"what={what}")
    assert code == 1
    assert told in err
    assert BUG not in err


@LINUX
@pytest.mark.parametrize(
    ("what", "where", "code", "told"),
    [
        ("segfault", "build", 1, "The process was killed by SIGSEGV.\nSee its output above. With PYTHONFAULTHANDLER=1"),
        ("exit", "build", 1, "The process exited with code 7."),
        ("sys.exit", "build", 3, "odd.py:build called sys.exit('done')."),
        ("interrupt", "build", 1, "The target's code failed with KeyboardInterrupt."),
        ("ask", "build", 1, "There is no standard input here: pass what the target asks for with -k name=value."),
        ("segfault", "step", 4, "its process was killed by SIGSEGV."),
        ("exit", "step", 4, "its process exited with code 7."),
        ("sys.exit", "step", 1, "The target's code failed with SystemExit: done."),
        ("interrupt", "step", 1, "The target's code failed with KeyboardInterrupt."),
    ],
)
def test_runs_in_other_processes_tell_how_they_ended(lrscout, shared_server, monkeypatch, what, where, code, told):
    monkeypatch.setattr("lrscout.runs.comparison.executors.make_starter", lambda *_, **__: shared_server)
    options = ("-k", f"what={what}", "-k", f"where={where}", "--jobs", "2")
    ended, _, err = lrscout("compare-schedulers", *COMPARE, *options)
    assert (ended, told in err) == (code, True), err
    assert BUG not in err
    assert "/lrscout/processes/" not in err


@LINUX
@pytest.mark.parametrize(
    ("what", "where", "code", "told"),
    [
        ("abort", "build", 1, "The process that built the target was killed by SIGABRT."),
        ("exit", "step", 1, "The trial's process exited with code 7."),
        ("segfault", "step", 1, "The trial's process was killed by SIGSEGV."),
        ("interrupt", "step", 1, "The target's code failed with KeyboardInterrupt."),
    ],
)
def test_trials_tell_how_they_ended(lrscout, shared_server, monkeypatch, what, where, code, told):
    monkeypatch.setattr("lrscout.runs.batch_size.trials.make_starter", lambda *_, **__: shared_server)
    ended, _, err = lrscout("find-batch-size", *SIZES, "-k", f"what={what}", "-k", f"where={where}")
    assert (ended, told in err) == (code, True), err
    assert BUG not in err


@pytest.mark.slow
@pytest.mark.parametrize("where", ["build", "step"])
@pytest.mark.parametrize(("what", "number"), [("segfault", 11), ("abort", 6)])
def test_a_crash_says_where_it_happened(folder, what, number, where):
    options = ("-k", f"what={what}", "-k", f"where={where}", "--device", "cpu", "-o", "run.json")
    code, _, err = run(folder, "find-lr", "odd:build", *FIND, *options)
    assert code == -number
    assert "Fatal Python error" in err
    assert "odd.py" in err
    if where == "step":
        assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.slow
def test_input_finds_an_end_though_stdin_stays_open(folder):
    arguments = ("find-lr", "odd:build", *FIND, "-k", "what=ask", "--device", "cpu")
    code, _, err = run(folder, *arguments, stdin=subprocess.PIPE)
    assert code == 1
    assert "EOFError: EOF when reading a line\nThere is no standard input here" in err


@pytest.mark.slow
@pytest.mark.parametrize(("what", "written"), [("descriptor", "raw"), ("child", "child\n")])
def test_what_is_written_past_sys_stdout_stays_out_of_the_result(folder, what, written):
    arguments = ("find-lr", "odd:build", *FIND, "-k", f"what={what}", "--device", "cpu", "--quiet")
    code, out, err = run(folder, *arguments)
    assert (code, float(out) > 0, err) == (0, True, written)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["thread", "fork"])
def test_what_the_target_leaves_running_does_not_hold_up_the_end(folder, what):
    began = time.monotonic()
    arguments = ("find-lr", "odd:build", *FIND, "-k", f"what={what}", "--device", "cpu", "--quiet")
    with open(folder / "out", "w+") as out:
        code, _, err = run(folder, *arguments, seconds=25, stdout=out, stderr=out)
        out.seek(0)
        assert (code, float(out.read()) > 0) == (0, True), err
    assert time.monotonic() - began < 25


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_ends_though_the_target_has_set_signal_handlers(folder, number):
    text = (folder / "odd.py").read_text().replace("len(taken) == 5", "time.sleep(0.1) or len(taken) == 5")
    (folder / "odd.py").write_text(text)
    arguments = ("find-lr", "odd:build", *FIND, "-k", "what=handlers", "--device", "cpu", "-o", "run.json")
    process = start(folder, *arguments)
    while not (folder / "run.json").exists():
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 128 + number
