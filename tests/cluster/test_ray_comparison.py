"""compare-schedulers on a Ray cluster: the numbers of this machine, no run lost, none counted twice, nothing left."""

from __future__ import annotations

import json
import os
import signal

import pytest
from waiting_for import until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(200)]

COMPARE = ("compare-schedulers", "mymod:build", "-s", "constant", "-s", "cosine", "--device", "cpu")
SHARED = ("--lr-mode", "shared", "--lr", "0.3", "--steps", "40", "--seeds", "3")


def numbers(path):
    """The runs of a record without their times, and what they amount to."""
    result = json.loads(path.read_text())["result"]
    return [{**run, "seconds": 0} for run in result["runs"]], result["ranking"]


def on(cluster):
    return "--engine", "ray", "--ray-address", cluster.address


def noted(path):
    """The lines that runs have left."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def is_alive(pid):
    try:
        return "Z" not in open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_tuned_comparison_has_the_numbers_of_this_machine(lrscout, cluster, folder):
    tuned = ("--steps", "40", "--seeds", "2", "--lr", "0.3", "-k", f"notes={folder / 'notes'}")
    assert lrscout(*COMPARE, *tuned, "-o", "here.json")[0] == 0
    os.remove("notes")
    code, _, err = lrscout(*COMPARE, *tuned, *on(cluster), "-o", "there.json")
    assert code == 0, err
    assert numbers(folder / "there.json") == numbers(folder / "here.json")
    # its files were a copy, and its record names the target as the user does
    assert not any(str(folder) in line for line in noted(folder / "notes"))
    here, there = (json.loads((folder / name).read_text()) for name in ("here.json", "there.json"))
    assert there["target"] == here["target"]
    assert "ray" not in err.lower().replace("--engine ray", "").replace("starting ray", "")


def test_no_run_is_lost_or_counted_twice_when_a_node_is_killed(start, lrscout, cluster, folder):
    slow = ("-k", "delay=0.05", "-k", f"notes={folder / 'notes'}")
    assert lrscout(*COMPARE, *SHARED, "-o", "here.json")[0] == 0
    process = start(*COMPARE, *SHARED, *slow, *on(cluster), "-o", "there.json")
    second = cluster.list_all_nodes()[-1]
    manager = str(second.all_processes["raylet"][0].process.pid)
    try:
        # a run has begun on the second node, after the inspection
        assert until(lambda: any(line.split()[1] == manager for line in noted(folder / "notes")[1:]))
        cluster.remove_node(second, allow_graceful=False)
        _, err = process.communicate(timeout=120)
    finally:
        if second not in cluster.list_all_nodes():
            cluster.add_node(num_cpus=1)
    assert process.returncode == 0, err
    assert numbers(folder / "there.json")[0] == numbers(folder / "here.json")[0]
    assert [line.split()[1] for line in err.splitlines() if line.startswith("run ")] == [f"{n}/6" for n in range(1, 7)]
    assert len(noted(folder / "notes")) == 1 + 6 + 1, "one run was tried twice"


def test_ctrl_c_cancels_what_is_under_way_and_another_engine_resumes(start, lrscout, cluster, folder):
    slow = (*COMPARE, *SHARED, "-k", "delay=0.02", "-k", f"notes={folder / 'notes'}", "-o", "run.json")
    process = start(*slow, *on(cluster))
    assert until(lambda: (folder / "run.json").exists() and numbers(folder / "run.json")[0])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert until(lambda: not any(is_alive(line.split()[0]) for line in noted(folder / "notes")), 15)
    made = numbers(folder / "run.json")[0]
    assert 1 <= len(made) < 6
    code, _, err = lrscout(*slow, "--resume")
    assert code == 0, err
    assert f"Reusing {len(made)} runs of the earlier comparison." in err
    assert [run for run in numbers(folder / "run.json")[0] if run in made] == made
    code, _, err = lrscout(*slow, *on(cluster), "--resume", "--seeds", "4")
    assert code == 0, err
    assert "Reusing 6 runs" in err
    assert len(numbers(folder / "run.json")[0]) == 8


def test_a_training_command_has_the_numbers_of_this_machine_and_its_output_is_shown(lrscout, cluster, folder):
    compare = ("compare-schedulers", "-s", "constant", "-s", "cosine", *SHARED, "--seeds", "1")
    program = ("--", "python", "train.py", "{seed}")
    assert lrscout(*compare, "-o", "here.json", *program)[0] == 0
    code, _, err = lrscout(*compare, *on(cluster), "-o", "there.json", *program)
    assert code == 0, err
    assert "training with seed 0" in err
    assert numbers(folder / "there.json") == numbers(folder / "here.json")
    here, there = (json.loads((folder / name).read_text()) for name in ("here.json", "there.json"))
    assert there["target"] == here["target"]


def test_a_cluster_of_its_own_ends_with_ctrl_c(start, folder):
    slow = ("-k", "delay=0.02", "-k", f"notes={folder / 'notes'}")
    process = start(*COMPARE, *SHARED, *slow, "--engine", "ray", "--cpus-per-run", "0.5", "-o", "run.json")
    assert until(lambda: (folder / "run.json").exists() and numbers(folder / "run.json")[0], 100)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert all(str(folder) in line for line in noted(folder / "notes")), "it is no copy here"
    # the fixture sees that nothing is alive


def test_an_address_without_a_cluster_is_told_at_once(lrscout):
    code, _, err = lrscout(*COMPARE, *SHARED, "--engine", "ray", "--ray-address", "127.0.0.1:1")
    assert code == 2
    assert "There is no Ray cluster at --ray-address 127.0.0.1:1" in err


def test_a_run_that_fits_no_node_is_told_with_what_they_have(lrscout, cluster):
    code, _, err = lrscout(*COMPARE, *SHARED, *on(cluster), "--gpus-per-run", "0.5")
    assert code == 2
    assert "A run takes 1 CPU and 0.5 GPU, and no node has so much: they have 1 CPU, 0 GPU; 1 CPU, 0 GPU." in err
