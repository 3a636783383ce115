"""The time of a step with and without its loader, with real loaders and real workers."""

from __future__ import annotations

import json
import multiprocessing
from contextlib import closing
from pathlib import Path

import fed
import pytest
import torch
from small_workloads import digest, make_net
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

import lrscout
from lrscout.cli import main
from lrscout.engine.trials.bench import Bench
from lrscout.engine.trials.loading import shares_data, with_workers
from lrscout.engine.trials.requests import TimeStep
from lrscout.engine.trials.source import Source
from lrscout.errors import UsageError, WorkloadError
from lrscout.processes.messages import Limits
from lrscout.results import Target
from lrscout.runs.batch_size.search import search_batch_size
from lrscout.runs.batch_size.trials import open_trials
from lrscout.settings import FindBatchSizeSettings

FED = str(Path(fed.__file__))


def timer(build, **settings):
    """Times steps of a target in this process."""
    made = FindBatchSizeSettings(device="cpu", **settings)
    bench = Bench(Source(Target(None), "batch_size", 0, live=build), made, own_process=False)
    return lambda workers=None, loads=True, size=8: bench.time_step(TimeStep(size, workers, loads, Limits()))


# How long a step takes


def test_a_step_takes_as_long_as_its_batch_and_without_the_loader_it_does_not():
    time_step = timer(fed.slow)
    timed, without = time_step(), time_step(loads=False)
    assert timed.workers == 0
    assert timed.seconds_per_step > 8 * 0.002
    assert timed.loader_share > 0.5
    assert without.seconds_per_step < 0.5 * timed.seconds_per_step
    assert without.loader_share == 0


def test_workers_take_turns_and_a_step_takes_the_mean_of_a_turn():
    time_step = timer(fed.slow)
    one, four = (time_step(workers).seconds_per_step for workers in (1, 4))
    assert 8 * 0.002 / 4 < four < 0.6 * one


def test_what_was_prefetched_before_is_not_the_workers_speed(monkeypatch):
    taken = []
    monkeypatch.setattr("lrscout.engine.trials.loading.time_steps", lambda steps: [float(len(taken))])
    monkeypatch.setattr(lrscout.engine.session.Session, "step", lambda session, lr=None: taken.append(1))
    timer(fed.slow)(4)
    assert len(taken) >= 2 * 4


def test_accumulated_micro_batches_are_loaded_for_each_step():
    timed = timer(fed.slow, accumulate=3)()
    assert timed.seconds_per_step > 3 * 8 * 0.002


@pytest.mark.parametrize("kwargs", [{"workers": 2}, {"workers": 1, "persistent": True}])
def test_the_workers_are_gone_after_each_measurement(kwargs):
    time_step = timer(lambda batch_size: fed.slow(batch_size, **kwargs))
    for call in (time_step, time_step, lambda: time_step(2), lambda: time_step(loads=False)):
        assert call().workers in (kwargs["workers"], 2)
        assert multiprocessing.active_children() == []


def test_a_step_of_live_objects_leaves_them_as_they_were():
    net, loader = make_net(), DataLoader(fed.Slow(0.0), 8, shuffle=True)
    inputs = {"model": nn.Sequential(nn.Linear(4, 6), net), "train_loader": loader, "loss_fn": nn.CrossEntropyLoss()}
    optimizer = torch.optim.SGD(inputs["model"].parameters(), lr=0.1, momentum=0.9)
    before = digest(inputs["model"], optimizer)
    timer(lambda batch_size: {**inputs, "optimizer": optimizer})(1)
    assert digest(inputs["model"], optimizer) == before
    assert loader.num_workers == 0


# Another number of workers


def test_a_loader_with_another_number_of_workers_is_otherwise_the_same():
    class Derived(DataLoader):
        pass

    sampler = BatchSampler(SequentialSampler(fed.Slow()), 4, drop_last=True)
    loader = Derived(fed.Slow(0.0), batch_sampler=sampler)
    changed = with_workers(loader, 2)
    assert (type(changed), changed.num_workers, loader.num_workers) == (Derived, 2, 0)
    assert changed.batch_sampler is sampler
    with closing_workers(changed) as batches:
        assert [next(batches)[0][0, 0].item() for _ in range(3)] == [0.0, 4.0, 8.0]


def test_without_workers_what_belongs_to_workers_is_left_out():
    loader = DataLoader(
        fed.Slow(0.0), 4, num_workers=2, timeout=9, prefetch_factor=3, multiprocessing_context="fork",
        persistent_workers=True,
    )  # fmt: skip
    assert next(iter(with_workers(loader, 0)))[0].shape == (4, 4)
    assert with_workers(loader, 4).prefetch_factor == 3
    assert (loader.timeout, loader.num_workers) == (9, 2)


def closing_workers(loader):
    iterator = iter(loader)
    closed = closing(iterator)
    iterator.close = iterator._shutdown_workers
    return closed


@pytest.mark.parametrize(
    ("loader", "shares"),
    [
        (DataLoader(fed.Slow()), True),
        (DataLoader(fed.Stream(splits=True)), True),
        (DataLoader(fed.Stream(splits=False)), False),
        (DataLoader(fed.Stream(splits=False), worker_init_fn=print), True),  # which may split it
        (DataLoader(fed.Stream(splits=False), num_workers=2), True),  # as its user wants it
    ],
)
def test_an_iterable_data_set_is_shared_if_it_asks_for_its_worker(loader, shares):
    assert shares_data(loader) is shares
    assert torch.utils.data.get_worker_info() is None


def test_what_cannot_have_another_number_of_workers_is_told():
    with pytest.raises(UsageError, match="'Batched'"):
        with_workers(fed.Batched(4), 1)
    stream = DataLoader(fed.Stream(splits=False))
    assert with_workers(stream, 1).num_workers == 1
    with pytest.raises(UsageError, match="would yield all of its samples"):
        with_workers(stream, 2)


def test_workers_whose_parts_are_smaller_than_a_batch_are_told():
    time_step = timer(lambda batch_size: fed.parts(DataLoader(fed.Stream(splits=True), batch_size)))
    with pytest.raises(WorkloadError, match="batches of 128"):
        time_step(4, size=512)


# In other processes, and as a user meets it


@pytest.fixture
def command(shared_server, monkeypatch, tmp_path, capfd):
    """Run find-batch-size on a target of fed.py at size 8: exit code, stdout, stderr."""
    monkeypatch.setattr("lrscout.runs.batch_size.trials.make_starter", lambda *_, **__: shared_server)
    monkeypatch.setattr("lrscout.runs.batch_size.loading.cpu_cores", lambda: 4)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRSCOUT_TIME_BUDGET", "0.5s")

    def run(attribute, *arguments):
        capfd.readouterr()
        only = ("--min", "8", "--max", "8", "--device", "cpu")
        return (main(["find-batch-size", f"{FED}:{attribute}", *only, *arguments]), *capfd.readouterr())

    return run


def loading_of(out):
    return json.loads(out)["result"]["loading"]


def test_a_loader_that_limits_is_told_with_what_a_step_takes_without_it(command):
    code, out, _ = command("slow", "-o", "run.json")
    text = " ".join(out.split())
    assert code == 0
    assert "ms are left when batches need not be loaded: the loader limits this training" in text
    assert "--workers auto finds the num_workers that feeds the step." in text
    found = loading_of(Path("run.json").read_text())
    assert found["own"]["seconds_per_step"] > 2 * found["seconds_without"]
    assert (found["timings"], found["workers"], found["fed"]) == ([], None, False)


def test_a_loader_that_does_not_limit_is_not_timed_unless_asked(command):
    assert loading_of(command("quick", "--json")[1]) is None


def test_workers_auto_names_a_number_and_shows_what_it_tried(command, capfd):
    code, out, _ = command("slow", "--workers", "auto", "-o", "run.json", "--export-markdown", "run.md")
    found = loading_of(Path("run.json").read_text())
    tried = [timing["workers"] for timing in found["timings"]]
    assert code == 0
    assert tried == [0, 1, 2, 4][: len(tried)]
    assert found["workers"] in tried[2:]  # two wait half as long
    assert f"num_workers={found['workers']}" in " ".join(out.split())
    assert "0 (current)" in out
    assert f"{found['workers']} (suggested)" in out
    assert "| workers | ms per step | spent waiting |" in Path("run.md").read_text()
    assert main(["show", "run.json"]) == 0
    assert capfd.readouterr()[0] == out


def test_data_that_cannot_be_loaded_in_workers_is_told_and_the_search_stands(command):
    code, out, _ = command("broken_in_workers", "--workers", "auto")
    assert code == 0
    assert "\n\nRecommended batch size: 8" in out
    text = " ".join(out.split())
    assert "No other num_workers was timed. ValueError: this file was opened in another process." in text


def test_a_loader_that_is_no_data_loader_is_told(command):
    assert "It is not a DataLoader: with one, num_workers could load" in " ".join(command("own_loader")[1].split())
    code, out, _ = command("own_loader", "--workers", "auto", "--json")
    found = loading_of(out)
    assert (code, found["workers"]) == (0, None)
    assert found["problem"] == "The train_loader is not a DataLoader but 'Batched', so it has no num_workers."


def test_a_process_that_dies_or_hangs_is_told_in_a_line(shared_server, monkeypatch):
    monkeypatch.setattr("lrscout.runs.batch_size.trials.make_starter", lambda *_, **__: shared_server)
    settings = FindBatchSizeSettings(device="cpu", timeout=0.3)
    with (
        closing(open_trials(settings, Target(f"{FED}:slow"), None, lambda: None)) as trials,
        pytest.raises(WorkloadError, match=r"exceeded its time limit of 0\.3 s"),
    ):
        trials.time_step(128, 0, loads=True)


def test_ctrl_c_while_the_loader_is_timed_keeps_the_answer(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lrscout.engine.trials.bench.time_step", interrupted)
    settings = FindBatchSizeSettings(min=8, max=8, device="cpu", isolate="never", workers="auto", objective="memory")
    record = search_batch_size(settings, Target(f"{FED}:slow"), found=fed.slow)
    assert (record.result.batch_size, record.status) == (8, "interrupted")
    assert record.result.loading.problem == "The timing was interrupted."


def test_workers_have_no_meaning_for_a_command_or_an_estimate():
    with pytest.raises(UsageError, match="--workers cannot be used with a command"):
        lrscout.find_batch_size(command=["python", "train.py", "{batch_size}"], workers="auto")
    with pytest.raises(UsageError, match="--dry-run runs no step"):
        FindBatchSizeSettings(dry_run=True, budget="1GiB", workers="auto")
    with pytest.raises(UsageError, match="must be one of auto"):
        FindBatchSizeSettings(workers="4")
