"""Where requests are performed: what travels to the nodes of a Ray cluster, how many fit there, and what is refused."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import small_hosts
from small_hosts import Do, Host

from lrscout.cli import main
from lrscout.errors import UsageError
from lrscout.processes.messages import Answered, Job
from lrscout.processes.ray_cluster import Needs, RayCluster
from lrscout.processes.ray_engine import RayExecutor
from lrscout.processes.ray_task import Mailbox, RanOutOfMemoryError, perform
from lrscout.results import CommandTarget, Target, TargetOnRanks
from lrscout.runs.engines import carried
from lrscout.runs.programs import on_this_node
from lrscout.settings import CompareSchedulersSettings


def cluster_of(*nodes):
    made = RayCluster.__new__(RayCluster)
    made.ray = SimpleNamespace(nodes=lambda: [{"Alive": "dead" not in node, "Resources": node} for node in nodes])
    return made


@pytest.mark.parametrize(
    ("needs", "slots"),
    [
        (Needs(1), 2),  # as many as there are GPUs
        (Needs(1, 0), 12),
        (Needs(2, 1), 2),
        (Needs(1, 0.25), 4),  # the cores of the second node are the fewer ones there
        (Needs(0.1, 0), 120),
        (Needs(3, 0), 3),  # 4 and 8 cores hold one and two
    ],
)
def test_a_cluster_holds_as_many_runs_as_its_nodes_have_room_for(needs, slots):
    nodes = {"CPU": 8.0}, {"CPU": 4.0, "GPU": 2.0}, {"CPU": 64.0, "GPU": 8.0, "dead": 1}
    assert cluster_of(*nodes).slots(needs) == slots


def test_without_gpus_a_run_asks_for_none():
    assert cluster_of({"CPU": 3.0}).slots(Needs()) == 3


def test_a_run_that_no_node_holds_is_refused_with_what_they_have():
    with pytest.raises(UsageError, match=r"takes 9 CPU and 1 GPU, and no node has so much: they have 8 CPU, 0 GPU; 4"):
        cluster_of({"CPU": 8.0}, {"CPU": 4.0, "GPU": 2.0}).slots(Needs(9))


def test_a_target_travels_with_the_folder_that_it_is_in(tmp_path, monkeypatch):
    package = tmp_path / "elsewhere" / "pkg"
    package.mkdir(parents=True)
    for name in ("__init__.py", "mod.py"):
        (package / name).touch()
    (here := tmp_path / "here").mkdir()
    (here / "src").mkdir()
    monkeypatch.chdir(here)

    def found(path, app_dir="."):
        folder, target = carried(Target(path, {"width": 2}, app_dir))
        assert target.kwargs == {"width": 2}
        return Path(folder).relative_to(tmp_path), target.path, target.app_dir

    assert found("mymod:build") == (Path("here"), "mymod:build", ".")
    assert found("mymod:build", "src") == (Path("here"), "mymod:build", "src")
    assert found("src/mymod.py:build") == (Path("here"), "src/mymod.py:build", ".")
    assert found(f"{here}/src/mymod.py:build") == (Path("here"), "src/mymod.py:build", ".")
    assert found("../elsewhere/pkg/mod.py:build") == (Path("elsewhere"), "pkg/mod.py:build", ".")
    assert found("pkg.mod:build", "../elsewhere") == (Path("elsewhere"), "pkg.mod:build", ".")
    with pytest.raises(UsageError, match="does not exist"):
        found("mymod:build", "../nowhere")


def test_a_command_travels_with_its_folder(tmp_path):
    folder, target = carried(CommandTarget(("python", "train.py"), str(tmp_path)))
    assert (folder, target.cwd, target.command) == (str(tmp_path), ".", ("python", "train.py"))


def performed(action, folder, number=1, mailbox=None):
    job = Job(Host, 0, (str(folder),), Do(action, (4,) if action is small_hosts.double else ()))
    return pickle.loads(perform(number, str(folder), pickle.dumps(job), 7, mailbox))


def test_on_a_node_a_command_stays_what_it_is_and_ranks_have_the_python_of_the_node(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target, words = Target("mymod:build", {}), ("/elsewhere/bin/python", "train.py")
    _, plain = carried(CommandTarget(words, str(tmp_path), since=0.0))
    _, ranked = carried(TargetOnRanks(words, str(tmp_path), since=0.0, target=target))
    assert on_this_node(plain).command == words
    assert on_this_node(ranked) == TargetOnRanks((sys.executable, "train.py"), str(tmp_path), target=target)
    assert on_this_node(plain).since > 0  # what the copy consists of is older than that


def test_a_node_performs_a_request_in_its_folder_and_reports_to_the_mailbox(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    mailbox = Mailbox()
    remote = SimpleNamespace(put=SimpleNamespace(remote=mailbox.put))
    assert performed(small_hosts.double, tmp_path, mailbox=remote) == Answered(8)
    assert os.getcwd() == str(tmp_path)
    assert [(task, pickle.loads(content)) for task, content in mailbox.take()] == [(7, 4)]
    assert mailbox.take() == []


def test_a_process_of_a_node_has_one_host_for_each_executor(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counted = [performed(small_hosts.count, tmp_path, number).value for number in (11, 11, 12)]
    assert counted == [1, 2, 1]


def test_a_request_that_runs_out_of_memory_is_left_to_ray_to_try_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RanOutOfMemoryError, match="no room"):
        performed(small_hosts.exhaust, tmp_path)


class RayError(Exception):
    pass


class OutOfMemoryError(RayError):
    pass


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RayError(), "was lost: RayError"),
        (RayError("\nthe owner died\nat 3"), "was lost: the owner died"),
        (OutOfMemoryError(), "OutOfMemoryError"),
    ],
)
def test_a_request_that_ray_loses_is_told_even_where_ray_says_nothing(error, told):
    def get(reference):
        raise error

    others = dict.fromkeys(("RayTaskError", "RuntimeEnvSetupError", "NodeDiedError"), ZeroDivisionError)
    exceptions = SimpleNamespace(OutOfMemoryError=OutOfMemoryError, RayError=RayError, **others)
    executor = RayExecutor.__new__(RayExecutor)
    executor._cluster = SimpleNamespace(ray=SimpleNamespace(get=get, exceptions=exceptions), logs=())
    died = executor._answer(None)
    assert told in (died.account, died.out_of_memory)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ray_address": "auto"}, "--ray-address is for --engine ray"),
        ({"gpus_per_run": 0.5}, "--gpus-per-run is for --engine ray"),
        ({"engine": "ray", "gpus_per_run": 1.5}, "--gpus-per-run 1.5 must be a whole number"),
        ({"engine": "ray", "jobs": "4"}, "--jobs 4 is for --engine here"),
    ],
)
def test_settings_that_do_not_fit_the_engine_are_refused(given, told):
    with pytest.raises(UsageError, match=told):
        CompareSchedulersSettings(**given)


def test_without_ray_one_line_says_how_to_install_it(monkeypatch, tmp_path, capfd):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.chdir(tmp_path)
    assert main(["compare-schedulers", "mymod:build", "--engine", "ray"]) == 2
    err = capfd.readouterr().err
    assert "--engine ray needs Ray, which is not installed." in err
    assert "pip install ray, or install lrscout with its extra [ray]." in err
    assert "Traceback" not in err


@pytest.mark.parametrize("address", ["nonsense", "http://x:1", "x:"])
def test_an_address_that_is_none_is_refused(address):
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match=r"must be auto or HOST:PORT"):
        RayCluster(address, ".")
