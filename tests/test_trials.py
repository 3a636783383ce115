"""Trials in processes of their own: the limit holds, outcomes are told apart, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import sizable

import lrscout
from lrscout.engine.trials.requests import make_bench
from lrscout.errors import LrscoutError, RemoteError, TargetError, UsageError, UserCodeError, WorkloadError
from lrscout.processes.pool import WorkerPool
from lrscout.processes.start import ForkServer
from lrscout.results import Target, Trial
from lrscout.runs.batch_size.trials import MALLOC, TargetTrials, Trials
from lrscout.settings import FindBatchSizeSettings

MIB = 1 << 20
SIZABLE = Path(__file__).parent / "sizable.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of processes are Linux's")


def open_trials(starter, target: Target, settings: FindBatchSizeSettings, on_wait=lambda: None) -> Trials:
    return TargetTrials(WorkerPool(starter, make_bench, (target, settings), on_wait=on_wait), settings)


@pytest.fixture
def trials(shared_server):
    """Makes trials of a target in sizable.py."""
    made = []

    def make(attribute: str, kwargs=None, **settings) -> Trials:
        given = FindBatchSizeSettings(**{"device": "cpu", **settings})
        made.append(open_trials(shared_server, Target(f"{SIZABLE}:{attribute}", kwargs or {}), given))
        return made[-1]

    yield make
    for each in made:
        each.close()


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def attempt(trials: Trials, size: int, limit_mib: int | None = None, longest: int | None = None, evaluates=False):
    return trials.run(size, None if limit_mib is None else limit_mib * MIB, longest, evaluates)


def run(trials: Trials, size: int, limit_mib: int | None = None, **more) -> Trial:
    return attempt(trials, size, limit_mib, **more).trial


def test_a_look_at_the_target_tells_what_the_search_needs(trials):
    facts = trials("build", {"samples": 100}).inspect()
    assert (facts.training.samples, facts.own.batch_size, facts.own.lr) == (100, 8, 0.1)
    assert facts.available_bytes > 100 * MIB
    assert facts.environment["optimizer"] == "SGD (the target's own)"
    assert "torch" in facts.environment


def test_the_peak_follows_the_batch_size_and_the_limit_holds(trials):
    some = trials("build")
    small, large = run(some, 16, 100), run(some, 96, 100)
    per_sample = (large.peak_bytes - small.peak_bytes) / 80
    assert (small.outcome, large.outcome) == ("fits", "fits")
    assert 150_000 < per_sample < 600_000
    assert large.forward_bytes == large.peak_bytes > large.optimizer_bytes
    assert large.samples_per_second > 0
    assert large.steps > 3
    beyond = int(100 * MIB / per_sample * 1.1)
    assert run(some, beyond, 100).outcome == "out_of_memory"
    assert run(some, beyond, 200).outcome == "fits"


def test_a_trial_tells_what_its_memory_is_made_of(trials):
    trial = run(trials("with_loader", optimizer="adamw"), 128)
    weights = 4 * sum(parameter.numel() for parameter in sizable.Wide().parameters())
    assert (trial.weight_bytes, trial.gradient_bytes) == (weights, weights)
    assert trial.optimizer_state_bytes == pytest.approx(2 * weights, rel=0.01)
    assert trial.activation_bytes == pytest.approx(128 * 5 * 4 * 8192, rel=0.1)  # five layers are kept


def test_evaluation_has_no_activations_to_tell(trials):
    trial = run(trials("build"), 8, evaluates=True)
    assert (trial.outcome, trial.activation_bytes) == ("fits", None)


def test_the_steps_settings_are_the_users(trials):
    plain, large = run(trials("build"), 16, 200), run(trials("build"), 64, 200)
    four = run(trials("build", accumulate=4), 16, 200)
    adam = run(trials("with_loader"), 16, 200)
    assert plain.peak_bytes <= four.peak_bytes < (plain.peak_bytes + large.peak_bytes) / 2  # a micro-batch at a time
    assert adam.optimizer_bytes > plain.optimizer_bytes + 3 * MIB  # its two moments


def test_evaluation_needs_less_than_training(trials):
    some = trials("build")
    assert run(some, 300, 300, evaluates=True).peak_bytes < 0.7 * run(some, 300, 300).peak_bytes


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_loader_is_rebuilt(trials, workers):
    trial = run(trials("with_loader", {"workers": workers}), 48, 300)
    assert (trial.batch_size, trial.outcome) == (48, "fits")


def test_spawned_loader_workers_are_not_slowed_by_what_makes_memory_measurable(monkeypatch):
    (name,) = MALLOC
    monkeypatch.setenv(name, "65536")
    make_bench(0, Target(f"{SIZABLE}:build"), FindBatchSizeSettings(device="cpu"))
    assert name not in os.environ


def test_an_iterable_data_set_is_batched_anew(trials):
    some = trials("stream")
    assert some.inspect().training.samples is None
    assert run(some, 32, 200).outcome == "fits"
    assert run(some, 65, 200).outcome == "too_few_samples"


@pytest.mark.parametrize("attribute", ["batches_of_its_own", "batch_sampler"])
def test_a_loader_that_batches_in_its_own_way_is_told_what_to_do(trials, attribute):
    with pytest.raises(UsageError, match="--batch-arg"):
        trials(attribute).inspect()


def test_a_data_set_that_batches_by_itself_is_told_what_to_do(trials):
    with pytest.raises(UsageError, match="its dataset"):
        trials("stream", {"batched": True}).inspect()


def test_another_argument_can_set_the_size(trials):
    some = trials("needs_size", batch_arg="n")
    assert some.inspect().own.batch_size == 1
    assert run(some, 16, 200).outcome == "fits"
    with pytest.raises(TargetError, match="no argument 'm'"):
        trials("needs_size", batch_arg="m").inspect()


def test_a_target_that_ignores_the_size_is_found_out(trials):
    trial = run(trials("deaf"), 64, 200)
    assert trial.outcome == "too_few_samples"
    assert "batches of 4" in trial.reason


def test_a_data_set_smaller_than_the_batch_is_found_out(trials):
    for drop_last in (True, False):
        trial = run(trials("build", {"samples": 20, "drop_last": drop_last}), 21, 200)
        assert trial.outcome == "too_few_samples"
    assert run(trials("build", {"samples": 20}), 20, 200).outcome == "fits"


def test_an_empty_data_set_is_told(trials):
    with pytest.raises(WorkloadError, match="empty"):
        trials("build", {"samples": 0}).inspect()


def test_the_users_exception_comes_with_its_traceback(trials):
    some = trials("raising_at")
    assert run(some, 36, 200).outcome == "fits"
    found = attempt(some, 37, 200)
    assert (found.trial.outcome, found.trial.reason) == ("failed", "IndexError: the user's own mistake at 37")
    assert isinstance(found.error, UserCodeError)
    assert isinstance(found.error.__cause__, RemoteError)
    assert "sizable.py" in found.error.__cause__.traceback
    assert str(Path(lrscout.__file__).parent) not in found.error.__cause__.traceback


def test_an_exception_in_build_is_the_users(trials):
    with pytest.raises(UserCodeError, match="ZeroDivisionError: in build"):
        trials("raises_in_build").inspect()


def test_a_target_that_is_not_there_is_told_as_ever(trials):
    with pytest.raises(TargetError, match="no attribute 'buidl'"):
        trials("buidl").inspect()


def test_a_process_that_hangs_is_ended(trials, shared_server):
    started = time.monotonic()
    trial = run(trials("acting", {"act": "hang"}, timeout=3.0), 16, 200)
    assert trial.outcome == "timeout"
    assert "3 s" in trial.reason
    assert time.monotonic() - started < 30
    assert children_of(shared_server.pid) == []


def test_a_killed_process_is_told_from_one_that_ran_out_of_memory(trials):
    found = attempt(trials("acting", {"act": "kill"}), 16, 1000)
    assert found.trial.outcome == "failed"  # somebody's doing: it held next to nothing
    assert "SIGKILL" in str(found.error)
    assert run(trials("acting", {"act": "exhaust"}), 16, 110).outcome == "killed"


def test_a_process_that_leaves_is_a_failure(trials):
    found = attempt(trials("acting", {"act": "exit"}), 16, 1000)
    assert found.trial.outcome == "failed"
    assert "code 3" in str(found.error)


def test_a_leak_is_measured(trials):
    trial = run(trials("acting", {"act": "leak"}), 16, 200)
    assert trial.outcome == "fits"
    assert 0.8 * MIB < trial.growth_bytes < 1.3 * MIB
    assert run(trials("acting", {"act": "leak"}), 8, 200).growth_bytes is None


def test_a_worker_that_dies_is_a_failure(trials):
    some = trials("dying_worker")
    trial = run(some, 4, 500)
    assert trial.outcome == "failed"
    assert "DataLoader worker" in trial.reason


def test_the_worst_batch_is_made_of_the_longest_sample(trials):
    some = trials("ragged")
    facts = some.inspect()
    longest = facts.training.longest
    assert longest % 128 == 64
    usual = run(some, 8, 200)
    worst = run(some, 8, 200, longest=longest)
    assert worst.peak_bytes > usual.peak_bytes
    assert trials("ragged", eval=True).inspect().evaluation.longest == longest  # evaluated on the same data
    assert trials("ragged", worst_case="off").inspect().training.longest is None
    assert trials("build").inspect().training.longest is None  # all alike


def test_ctrl_c_ends_the_process(shared_server):
    def interrupt():
        raise KeyboardInterrupt

    some = open_trials(shared_server, Target(f"{SIZABLE}:acting"), FindBatchSizeSettings(), interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(some, 16, 200)
    assert children_of(shared_server.pid) == []


def test_a_server_that_is_killed_is_told_and_no_trial_is_counted():
    server = ForkServer(MALLOC, expendable=True)
    kill = partial(os.kill, server.pid, signal.SIGKILL)
    some = open_trials(server, Target(f"{SIZABLE}:acting"), FindBatchSizeSettings(device="cpu"), kill)
    try:
        for _ in range(2):  # the second finds no server
            with pytest.raises(LrscoutError, match="killed from outside"):
                run(some, 16, 200)
    finally:
        some.close()


@pytest.mark.parametrize("argument", ["of the script", "without a name"])
def test_arguments_that_no_other_process_can_have_are_told(trials, argument, monkeypatch):
    made = type("Act", (), {"__module__": "__main__"})
    if argument == "of the script":  # found by its name here, and not there
        monkeypatch.setattr(sys.modules["__main__"], "Act", made, raising=False)
    with pytest.raises(UsageError, match="cannot be sent to another process") as caught:
        trials("build", {"samples": made}).inspect()
    assert "isolate='never'" in caught.value.hint


def test_children_end_with_a_search_that_was_killed():
    code = (
        "from test_trials import *; server = ForkServer(MALLOC, True); print(server.pid, flush=True);"
        f"run(open_trials(server, Target({f'{SIZABLE}:acting'!r}), FindBatchSizeSettings()), 16)"
    )
    search = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=SIZABLE.parent)
    pid = int(search.stdout.readline())
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not children.read_text().split():
        time.sleep(0.05)
    everybody = [pid, *map(int, children.read_text().split())]
    search.kill()
    search.wait()
    deadline = time.monotonic() + 10
    while any(alive(process) for process in everybody) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(process) for process in everybody)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
