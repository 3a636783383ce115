"""What is counted, and what the machine and its cgroups leave."""

from __future__ import annotations

import resource
import sys

import pytest
import torch
from torch import nn

from lrscout.attached import status
from lrscout.attached.memory import ProcessMemory, memory_of
from lrscout.attached.parts import Parts
from lrscout.attached.status import available_memory, own_status
from lrscout.engine.trials.timing import TIMED_STEPS, time_steps

MIB = 1 << 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")


def test_a_peak_is_of_what_was_held_between_two_resets():
    counted = ProcessMemory()
    counted.begin(None)
    counted.reset_peak()
    torch.ones(64 * MIB // 4)
    assert 60 * MIB < counted.peak() < 80 * MIB
    counted.reset_peak()  # malloc may keep what is freed, where earlier tests left it a large hole
    assert counted.peak() == pytest.approx(max(0, counted.held()), abs=2 * MIB)


def test_what_was_held_before_counts_where_it_is_said_to():
    counted = ProcessMemory()
    counted.begin(None, counted=50 * MIB)
    assert counted.held() == pytest.approx(50 * MIB, abs=MIB)


def test_the_limit_is_lifted_again():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    counted = ProcessMemory()
    counted.begin(100 * MIB)
    counted.tighten()
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        torch.ones(200 * MIB // 4)
    counted.end()
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    torch.ones(200 * MIB // 4)


def test_more_is_lent_until_the_first_step_is_done_and_then_what_is_held_counts():
    counted = ProcessMemory()
    counted.begin(100 * MIB)
    try:
        torch.empty(300 * MIB // 4)  # as libraries reserve it: nothing of it is touched
        with pytest.raises(RuntimeError, match="can't allocate memory"):
            torch.empty(2000 * MIB // 4)
        held = torch.ones(60 * MIB // 4)
        counted.tighten()
        torch.empty(20 * MIB // 4)
        with pytest.raises(RuntimeError, match="can't allocate memory"):
            torch.empty(70 * MIB // 4)
        counted.loosen()  # for steps that are timed
        torch.empty(300 * MIB // 4)
        del held
    finally:
        counted.end()
    lifted = resource.getrlimit(resource.RLIMIT_DATA)
    counted.tighten()  # of what has ended
    assert resource.getrlimit(resource.RLIMIT_DATA) == lifted


def test_a_limit_that_the_user_has_set_is_kept_where_it_is_lower():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    own = own_status("VmData") + 1000 * MIB
    counted = ProcessMemory()
    resource.setrlimit(resource.RLIMIT_DATA, (own, before[1]))
    try:
        counted.begin(4000 * MIB)
        assert resource.getrlimit(resource.RLIMIT_DATA) == (own, before[1])
        counted.end()
        assert resource.getrlimit(resource.RLIMIT_DATA) == (own, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def test_a_device_that_tells_nothing_has_no_peak():
    nothing = memory_of(torch.device("meta"))
    nothing.begin(5)
    assert (nothing.peak(), nothing.held(), nothing.available()) == (None, None, None)


@pytest.mark.parametrize("version", [1, 2])
def test_a_cgroups_limit_is_what_is_left_of_it(version, tmp_path, monkeypatch):
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    folder = groups / "memory" / "box" / "job" if version == 1 else groups / "box" / "job"
    folder.mkdir(parents=True)
    proc.mkdir()
    (proc / "cgroup").write_text("5:cpu:/other\n4:memory:/box/job\n0::/\n" if version == 1 else "0::/box/job\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
    other = folder.parent.parent / "other"  # in which this process is for its share of the CPU alone
    other.mkdir()
    for place, limit, usage in (
        (folder, 800 * MIB, 500 * MIB),
        (folder.parent, 100 * MIB, 40 * MIB),
        (other, 20 * MIB, 10 * MIB),
    ):
        (place / names[0]).write_text(f"{limit}\n")
        (place / names[1]).write_text(f"{usage}\n")
        (place / "memory.stat").write_text(f"{'total_' if version == 1 else ''}inactive_file {5 * MIB}\n")
    monkeypatch.setattr(status, "PROC", proc)
    monkeypatch.setattr(status, "CGROUPS", groups)
    assert available_memory() == 65 * MIB  # of the box, whose limit is nearer
    (folder.parent / names[0]).write_text("max\n")
    assert available_memory() == 305 * MIB
    (folder / names[1]).write_text(f"{900 * MIB}\n")
    assert available_memory() == 0  # never less than nothing


def test_timing_takes_two_steps_and_more_while_there_is_time(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("lrscout.engine.trials.timing.perf_counter", lambda: clock[0])

    def steps(seconds):
        def step():
            clock[0] += seconds

        return time_steps(step)

    assert len(steps(0.01)) == TIMED_STEPS
    assert len(steps(0.125)) == 4  # 0.4 seconds are enough
    assert len(steps(3.0)) == 2  # slow steps are waited for no longer than it takes


@pytest.mark.parametrize("drops_gradients_first", [True, False])
def test_activations_are_what_is_held_before_a_backward_pass_without_old_gradients(drops_gradients_first):
    weight = nn.Parameter(torch.zeros(25))  # 100 bytes, and as many of its gradient
    optimizer = torch.optim.SGD([weight], momentum=0.9)
    parts, rest, activations = Parts(), 1000, 4000
    for _ in range(2):
        old = 100 if weight.grad is not None and not drops_gradients_first else 0
        weight.grad = weight.grad if old else None
        held = rest + activations + old
        parts.backward_begins(held, [weight])
        weight.grad = torch.ones(25)
        parts.backward_begins(rest + activations + 100 + 77, [weight])  # of a second micro-batch
        optimizer.step()
        found = parts.step_ended(rest + 100, [weight], [optimizer])
    assert found == {
        "weight_bytes": 100,
        "gradient_bytes": 100,
        "optimizer_state_bytes": 100,
        "activation_bytes": activations,
    }
