"""The batch size of training commands: every trial in a program of its own, measured and limited from inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import sizable

import lrscout
from lrscout.cli import main
from lrscout.engine.trials.requests import make_bench
from lrscout.errors import UsageError
from lrscout.processes.attach_errors import CommandEndedError, CommandFailedError
from lrscout.processes.pool import WorkerPool
from lrscout.results import CommandTarget, Target
from lrscout.runs.batch_size.command import CommandTrials
from lrscout.runs.batch_size.endings import ending_of
from lrscout.runs.batch_size.started import OutOfTimeError
from lrscout.runs.batch_size.trials import TargetTrials
from lrscout.search.memory_model import predicted_size
from lrscout.settings import FindBatchSizeSettings

MIB = 1 << 20
HERE = Path(__file__).parent
SIZED = (sys.executable, str(HERE / "programs" / "sized.py"), "--batch-size", "{batch_size}")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are supervised on Linux")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Programs with two threads each slow each other down."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def trials_of(*command: str, on_wait=lambda: None, **settings) -> CommandTrials:
    given = FindBatchSizeSettings(**settings)
    return CommandTrials(CommandTarget(command, str(HERE)), given, None, on_wait)


def attempt(trials: CommandTrials, size: int, limit_mib: int):
    return trials.run(size, limit_mib * MIB, None)


def test_the_largest_size_is_that_of_the_same_model_as_a_target(shared_server):
    path = Target(f"{HERE / 'sizable.py'}:build")
    settings = FindBatchSizeSettings(device="cpu")
    target = TargetTrials(WorkerPool(shared_server, make_bench, (path, settings)), settings)
    program = trials_of(*SIZED)
    try:
        predicted = []
        for trials in (program, target):
            small, large, over = (attempt(trials, size, 64).trial for size in (64, 192, 450))
            assert (small.outcome, large.outcome, over.outcome) == ("fits", "fits", "out_of_memory")
            predicted.append(predicted_size([small, large], 64 * MIB))
        assert predicted[0] == pytest.approx(predicted[1], rel=0.15)
    finally:
        target.close()


def test_a_programs_memory_is_told_apart_by_what_its_optimizers_hold():
    trial = attempt(trials_of(*SIZED), 192, 64).trial
    weights = 4 * sum(parameter.numel() for parameter in sizable.Wide().parameters())
    assert (trial.weight_bytes, trial.gradient_bytes, trial.optimizer_state_bytes) == (weights, weights, 0)
    assert trial.activation_bytes == pytest.approx(192 * 5 * 4 * 8192, rel=0.1)  # five layers are kept


def test_a_size_that_the_program_caps_does_not_count(tmp_path, capfd):
    given = ["--budget", "100MiB", "--max", "16", "--objective", "memory", "-o", str(tmp_path / "run.json")]
    arguments = [*given, "--", *SIZED, "--cap", "6"]
    assert main(["find-batch-size", *arguments]) == 0
    out, err = capfd.readouterr()
    assert "The largest that ran is 6" in out
    assert "does not follow size 16" in out
    assert "It ran batches of 6 where 16 were asked for." in err
    result = json.loads((tmp_path / "run.json").read_text())["result"]
    assert [(t["batch_size"], t["outcome"]) for t in result["trials"]] == [(4, "fits"), (16, "capped"), (6, "fits")]


def test_a_size_that_the_program_refuses_is_told_from_memory():
    trials = trials_of(*SIZED, "--refuse", "8")
    assert attempt(trials, 8, 100).trial.outcome == "fits"
    refused = attempt(trials, 16, 100)
    assert refused.error is None
    assert (refused.trial.outcome, refused.trial.reason) == ("refused", "ValueError: the batch size may be 8 at most")


def test_one_rank_out_of_memory_is_the_trials_outcome_where_the_launcher_kills_the_others():
    trials = trials_of(*TORCHRUN, *SIZED[1:], "--greedy-rank", "1")
    trial = attempt(trials, 1600, 60).trial  # rank 0 alone would be within the 512 MiB that a first step is lent
    assert trial.outcome == "out_of_memory"
    assert "rank1" in trial.reason
    assert "can't allocate memory" in trial.reason


def test_ctrl_c_in_a_trial_leaves_no_process(monkeypatch):
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("LRSCOUT_TEST_MARK", mark)
    looks = iter(range(5))

    def interrupt() -> None:
        if next(looks, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(trials_of(*SIZED, on_wait=interrupt), 8, 100)
    left = [entry for entry in Path("/proc").glob("[0-9]*") if mark.encode() in environment_of(entry)]
    assert left == [Path(f"/proc/{os.getpid()}")] or left == []


def environment_of(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


def test_a_trial_that_takes_too_long_is_ended():
    trials = trials_of(sys.executable, "-c", "import time; time.sleep(600)", "{batch_size}", timeout=0.5)
    trial = attempt(trials, 8, 100).trial
    assert (trial.outcome, trial.reason) == ("timeout", "It took longer than 0.5 s.")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--", sys.executable, "train.py"), "{batch_size}"),
        (("--eval", "--", *SIZED), "--eval"),
        (("--cache", "--", *SIZED), "--cache"),
        (("--batch-arg", "n", "--", *SIZED), "{batch_size}"),
        (("--isolate", "always", "--", *SIZED), "--isolate"),
        (("--dry-run", "--budget", "1GiB", "--", *SIZED), "--dry-run"),
        (("--listen", "localhost", "mymod:build"), "--listen"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_runs(arguments, named, capfd):
    assert main(["find-batch-size", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert named in err


def test_in_python_a_command_stands_alone():
    with pytest.raises(UsageError, match="with a target"):
        lrscout.find_batch_size("mymod:build", command=SIZED)
    with pytest.raises(UsageError, match="batch_size"):
        lrscout.find_batch_size(command=["python", "train.py"])


def test_the_limit_that_a_launcher_has_is_not_that_of_its_ranks():
    code = (
        "import os, resource, torch; from lrscout.attached import measuring as m; own = resource.getrlimit(2);"
        "m.begin('cpu:1000000'); low = resource.getrlimit(2)[0]; import subprocess, sys;"
        "child = 'import resource; from lrscout.attached import measuring as m; m._undo_inherited_limit();"
        " print(resource.getrlimit(2)[0])';"
        "print(low > 0, int(subprocess.check_output([sys.executable, '-c', child])) == own[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], done.stderr


@dataclass(frozen=True)
class Ended:
    """A command that has ended, as a test says."""

    output: str = ""
    exit_code: int | None = 1
    grown: int = 0

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self.output.splitlines())


FAILED = CommandFailedError("The command exited with code 1 before its first optimizer step.")
TORCHRUN_REPORT = """torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
Root Cause (first observed failure):
  exitcode  : {code} (pid: 7)
  traceback : Signal 15 (SIGTERM) received by PID 8"""


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (Ended("[rank1]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (Ended("RuntimeError: ... DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (Ended("  what():  std::bad_alloc", -6), "out_of_memory"),
        (Ended("MemoryError"), "out_of_memory"),
        (Ended("OSError: [Errno 12] Cannot allocate memory"), "out_of_memory"),
        (Ended("libgomp: Thread creation failed: Resource temporarily unavailable"), "out_of_memory"),
        (Ended("ValueError: at this size you would see CUDA out of memory"), "refused"),
        (Ended("", -9, 90 * MIB), "killed"),
        (Ended("", 137, 90 * MIB), "killed"),
        (Ended(TORCHRUN_REPORT.format(code=-9), 1, 90 * MIB), "killed"),
        (Ended(TORCHRUN_REPORT.format(code=-11), 1, 90 * MIB), "out_of_memory"),
        (Ended(TORCHRUN_REPORT.format(code=1), 1, 90 * MIB), "refused"),
        (Ended("", -9, 20 * MIB), "refused"),
    ],
)
def test_the_end_of_a_program_says_what_limited_the_size(ended, outcome):
    trial, error = ending_of(FAILED, ended, 64, 100 * MIB, fits_below=True)
    assert (trial.outcome, error) == (outcome, None)


def test_a_failure_at_the_first_size_ends_the_search():
    trial, error = ending_of(FAILED, Ended("ValueError: no such file"), 4, 100 * MIB, fits_below=False)
    assert (trial.outcome, error) == ("failed", FAILED)


def test_a_program_that_ends_early_or_takes_too_long_has_no_failure():
    early = CommandEndedError("The command ended after 2 optimizer steps.", steps=2)
    trial, _ = ending_of(early, Ended(exit_code=0), 64, None, fits_below=True)
    assert (trial.outcome, trial.steps) == ("too_few_steps", 2)
    assert ending_of(OutOfTimeError("late"), Ended(), 64, None, fits_below=True)[0].outcome == "timeout"


def test_the_reason_is_the_programs_own_and_not_its_launchers():
    output = "[rank1]: ValueError: too large\n[rank0]: RuntimeError: Connection closed by peer\n" + TORCHRUN_REPORT
    trial, _ = ending_of(FAILED, Ended(output), 64, None, fits_below=True)
    assert trial.reason == "ValueError: too large"
