"""Timing sizes in turn on one model: what is timed, and that nothing of it is left behind."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import fed
import pytest
import sizable
import torch
from small_workloads import digest, make_net, random_digest
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from lrscout.engine.trials.bench import Bench
from lrscout.engine.trials.source import Source
from lrscout.errors import WorkloadError
from lrscout.results import Target
from lrscout.runs.batch_size.trials import open_trials
from lrscout.settings import FindBatchSizeSettings

MIB = 1 << 20
BOTH = pytest.mark.parametrize("own_process", [True, False])


def make_bench(target, own_process=True, **settings) -> Bench:
    made = FindBatchSizeSettings(device="cpu", **settings)
    return Bench(Source(Target(None), "batch_size", 0, live=target), made, own_process=own_process)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """As many as tell what is timed."""
    monkeypatch.setattr(
        "lrscout.engine.trials.stopwatch.time_steps", lambda step: [step() or 0.01 * number for number in range(1, 5)]
    )


class Sizes:
    """A target that notes the batches of its steps."""

    def __init__(self, make_loader) -> None:
        self.make_loader = make_loader
        self.seen: list[int] = []
        self.built: list[int] = []
        self.model = lambda: nn.Linear(6, 2)

    def __call__(self, batch_size: int):
        self.built.append(batch_size)
        return {"model": self.model(), "train_loader": self.make_loader(batch_size), "step": self._step}

    def _step(self, model, batch):
        self.seen.append(len(batch[0]))
        return model(batch[0]).square().mean()


def samples(count: int = 96) -> TensorDataset:
    return TensorDataset(torch.randn(count, 6), torch.zeros(count, dtype=torch.long))


@BOTH
def test_each_size_is_timed_with_full_batches_of_its_own(own_process):
    target = Sizes(lambda size: DataLoader(samples(100), size))
    bench = make_bench(target, own_process)
    for size in (8, 64, 8):  # of the data set, 64 leave 36
        target.seen.clear()
        timed = bench.time(size, False)
        assert set(target.seen) == {size}
        assert (timed.samples, len(timed.seconds)) == (size, 4)
    assert target.built == [8]  # its loader is rebuilt, the model is not


def test_a_step_has_the_samples_of_all_its_micro_batches():
    target = Sizes(lambda size: DataLoader(samples(), size))
    timed = make_bench(target, accumulate=3).time(8, False)
    assert timed.samples == 24
    assert len(target.seen) == 3 * 5


def test_a_loader_that_cannot_be_resized_is_built_anew_for_each_size():
    def make_loader(size):
        data = samples()
        return DataLoader(data, batch_sampler=Grouped(RandomSampler(data), size, drop_last=True))

    class Grouped(BatchSampler):
        pass

    target = Sizes(make_loader)
    bench = make_bench(target)
    for size in (8, 16, 8, 16):
        bench.time(size, False)
    assert target.seen == ([8] * 5 + [16] * 5) * 2
    assert target.built == [8, 16]


def test_a_size_that_the_loader_does_not_give_is_told():
    with pytest.raises(WorkloadError, match="batches of 4 samples instead of 16"):
        make_bench(sizable.deaf).time(16, False)


@BOTH
@pytest.mark.parametrize("kwargs", [{"workers": 2}, {"workers": 1, "persistent": True}])
def test_workers_begin_anew_with_each_turn_and_are_gone_after_it(own_process, kwargs):
    seen = []

    def step(model, batch):
        seen.append((len(batch[0]), batch[0][0, 0].item()))
        return model(batch[0]).square().mean()

    def target(batch_size):
        return {**fed.slow(batch_size, **kwargs), "step": step, "loss_fn": None}

    bench = make_bench(target, own_process)
    for size in (4, 8, 4):
        seen.clear()
        timed = bench.time(size, False)
        assert multiprocessing.active_children() == []
        assert len(timed.seconds) == 4
        assert seen[:3] == [(size, 0.0), (size, size), (size, 2.0 * size)]  # from the start of the data, in order


class Recurrent(nn.Module):
    """Carries its state from batch to batch, in the batch's shape, as truncated backpropagation through time does."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(6, 2)
        self.state = None

    def forward(self, inputs):
        state = self.cell(inputs, self.state)
        self.state = state.detach()
        return state


@BOTH
def test_state_that_a_model_carries_between_batches_does_not_reach_the_next_size(own_process):
    target = Sizes(lambda size: DataLoader(samples(), size))
    target.model = Recurrent
    bench = make_bench(target, own_process)
    for size in (8, 16, 8):
        bench.time(size, False)
    assert target.seen == [8] * 5 + [16] * 5 + [8] * 5


@BOTH
def test_a_stream_of_samples_is_timed_at_any_size(own_process):
    target = Sizes(lambda size: DataLoader(sizable.Stream(batched=False), size))
    target.model = lambda: nn.Linear(64, 2)
    bench = make_bench(target, own_process)
    for size in (8, 16):
        bench.time(size, False)
    assert target.seen == [8] * 5 + [16] * 5


def live(**more):
    """Live objects, and a digest of all that may change in them."""
    net, generator = make_net(), torch.Generator().manual_seed(3)
    loader = DataLoader(samples(), 4, shuffle=True, generator=generator, **more)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    given = {"model": net, "train_loader": loader, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
    return given, lambda: (digest(net, optimizer), digest(generator), random_digest())


@pytest.mark.parametrize("more", [{}, {"num_workers": 1, "persistent_workers": True}])
@pytest.mark.parametrize("evaluates", [False, True])
def test_live_objects_are_left_as_they_were(more, evaluates):
    given, state = live(**more)
    before = state()
    bench = make_bench(given, own_process=False)
    for size in (4, 8, 4):
        bench.time(size, evaluates)
        assert state() == before


def test_live_objects_are_left_as_they_were_by_a_step_that_fails():
    given, state = live()
    before = state()

    def step(model, batch):
        model(batch[0]).square().mean().backward()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_bench({**given, "step": step, "loss_fn": None}, own_process=False).time(8, False)
    assert state() == before


def test_timing_evaluation_trains_nothing():
    given, _ = live()
    weights = [parameter.detach().clone() for parameter in given["model"].parameters()]
    timed = make_bench(given, own_process=True, accumulate=2).time(8, True)  # where nothing is restored
    assert timed.samples == 8
    assert all(torch.equal(now, then) for now, then in zip(given["model"].parameters(), weights))
    assert all(parameter.grad is None for parameter in given["model"].parameters())
    assert not given["optimizer"].state


def test_the_compiled_model_is_timed_and_comes_back_plain():
    graphs = []

    def backend(graph, example):
        graphs.append(graph)
        return graph.forward

    class Model(nn.Linear):  # torch.compile looks into classes of its own for nothing
        def forward(self, inputs):
            return super().forward(inputs) * 2

    model = Model(6, 2)
    compile_in_place = model.compile
    model.compile = lambda: compile_in_place(backend=backend)
    given = {"model": model, "train_loader": DataLoader(samples(), 8), "loss_fn": nn.CrossEntropyLoss()}
    bench = make_bench(given, own_process=False, compile=True)
    bench.time(8, False)
    assert graphs
    assert model._compiled_call_impl is None


def test_a_trial_after_a_timing_measures_the_same_peak(shared_server):
    settings = FindBatchSizeSettings(device="cpu")
    trials = open_trials(settings, Target(f"{Path(sizable.__file__)}:build"), None, lambda: None)
    try:
        first = trials.run(64, 200 * MIB, None).trial.peak_bytes
        trials.time(128)
        trials.time(16, evaluates=True)
        assert trials.run(64, 200 * MIB, None).trial.peak_bytes == pytest.approx(first, abs=2 * MIB)
    finally:
        trials.close()
