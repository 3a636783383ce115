"""Data of unusual forms trains as in a plain loop, or is refused with what to write instead."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import re
import signal
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from plain_loop import swept, trained_by_hand
from small_workloads import linear_workload, steps
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import lrscout
from lrscout.errors import WorkloadError

INPUTS = torch.randn(64, 6, generator=torch.Generator().manual_seed(3))
TARGETS = (INPUTS.sum(1) > 0).long()
DATA = TensorDataset(INPUTS, TARGETS)


@dataclasses.dataclass
class Pair:
    inputs: Tensor
    target: Tensor


NamedPair = namedtuple("NamedPair", "inputs target")


class Graphs:
    """As a batch of graphs: it moves itself, and is nothing that can be iterated."""

    def __init__(self, inputs: Tensor, target: Tensor) -> None:
        self.inputs, self.target = inputs, target

    def to(self, device: Any) -> Graphs:
        return Graphs(self.inputs.to(device), self.target.to(device))


class Endless(IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        return (DATA[index % 64] for index in itertools.count())


class Lengths(nn.Module):
    """Takes sequences of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.GRU(6, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, sequences: Any) -> Tensor:
        return self.head(self.body(sequences)[1][0])


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))


def build(
    make_loader: Callable[[], Any],
    make_model: Callable[[], nn.Module] = dense,
    step: Callable[[nn.Module, Any], Tensor] | None = None,
) -> Mapping[str, Any]:
    model = make_model()
    compute = {"loss_fn": nn.CrossEntropyLoss()} if step is None else {"step": partial(step, model)}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"model": model, "train_loader": make_loader(), "optimizer": optimizer, **compute}


def collated(make_batch: Callable[[Tensor, Tensor], Any]) -> Callable[[], Any]:
    """A loader of batches of another form."""

    def collate(samples: Any) -> Any:
        inputs, target = zip(*samples)
        return make_batch(torch.stack(inputs), torch.stack(target))

    return lambda: DataLoader(DATA, batch_size=8, shuffle=True, collate_fn=collate)


def padded(inputs: Tensor, target: Tensor) -> Any:
    return nn.utils.rnn.pad_sequence([sample.expand(1 + n % 5, 6) for n, sample in enumerate(inputs)], True), target


def packed(inputs: Tensor, target: Tensor) -> Any:
    sequences = [sample.expand(1 + n % 5, 6) for n, sample in enumerate(inputs)]
    return nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False), target


def loss_of(find: Callable[[Any], tuple[Any, Any]]) -> Callable[[nn.Module, Any], Tensor]:
    """A step that finds the inputs and the target in a batch."""

    def step(model: nn.Module, batch: Any) -> Tensor:
        inputs, target = find(batch)
        return nn.functional.cross_entropy(model(inputs), target)

    return step


def attributes(batch: Any) -> tuple[Any, Any]:
    return batch.inputs, batch.target


TRAINING: dict[str, Callable[[], Mapping[str, Any]]] = {
    "one batch": partial(build, lambda: DataLoader(DATA, batch_size=64)),
    "a short last batch": partial(build, lambda: DataLoader(TensorDataset(INPUTS[:61], TARGETS[:61]), batch_size=8)),
    "a huge first batch": partial(
        build, lambda: [(INPUTS.repeat(500, 1), TARGETS.repeat(500)), *([(INPUTS[:8], TARGETS[:8])] * 7)]
    ),
    "an endless dataset": partial(build, lambda: DataLoader(Endless(), batch_size=8)),
    "a generator": partial(build, lambda: ((INPUTS[n : n + 8], TARGETS[n : n + 8]) for n in range(50))),
    "a dataset that yields lists": partial(build, lambda: [[INPUTS[:8], TARGETS[:8]], [INPUTS[8:], TARGETS[8:]]]),
    "padded sequences": partial(build, collated(padded), Lengths),
    "packed sequences": partial(build, collated(packed), Lengths),
    "named tuples": partial(build, collated(NamedPair)),
    "named tuples in a step": partial(build, collated(NamedPair), step=loss_of(attributes)),
    "dataclasses": partial(build, collated(Pair), step=loss_of(attributes)),
    "objects that move themselves": partial(build, collated(Graphs), step=loss_of(attributes)),
    "nested dicts": partial(
        build,
        collated(lambda inputs, target: {"in": [{"x": inputs, "name": "a"}, None], "y": target}),
        step=loss_of(lambda batch: (batch["in"][0]["x"], batch["y"])),
    ),
    "text and None": partial(
        build,
        collated(lambda inputs, target: (["a", "b"], None, inputs, target)),
        step=loss_of(lambda batch: batch[2:]),
    ),
    "text alone": partial(
        build,
        lambda: [["a", "b"], ["c", "d"]],
        step=loss_of(lambda batch: (INPUTS[[ord(c) - 97 for c in batch]], TARGETS[:2])),
    ),
    "None": partial(build, lambda: [None, None], step=loss_of(lambda batch: (INPUTS, TARGETS))),
    "tensors that are not contiguous": partial(build, lambda: [(INPUTS.t().contiguous().t()[::2], TARGETS[::2])]),
    "bytes as labels": partial(build, collated(lambda inputs, target: (inputs, target.byte()))),
}


@pytest.mark.parametrize("form", TRAINING)
def test_data_of_any_form_trains_as_in_a_plain_loop(form: str, one_thread: None) -> None:
    rates, losses = swept(TRAINING[form])
    assert (rates, losses) == trained_by_hand(TRAINING[form])
    assert len(losses) == 20
    assert min(losses) < losses[0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("share", ["one number", "all"])
def test_data_that_is_not_finite_is_named_as_what_to_look_for(value: float, share: str) -> None:
    inputs = INPUTS.clone()
    inputs[40 if share == "one number" else slice(None)] = value
    suggestion = lrscout.find_lr(
        partial(build, lambda: DataLoader(TensorDataset(inputs, TARGETS), batch_size=8)), device="cpu"
    ).suggestion
    assert suggestion.lr is None
    assert "non-finite" in suggestion.reason
    assert "nan or inf in the data" in suggestion.reason


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (list, "The train_loader is empty."),
        (lambda: DataLoader(TensorDataset(INPUTS[:3], TARGETS[:3]), batch_size=8, drop_last=True), "is empty"),
        (lambda: iter([(INPUTS, TARGETS)] * 5), "ended after 5 batches and cannot be iterated again"),
        (collated(Pair), r"a batch must be \(inputs, target\), but the loader yielded 'Pair'"),
        (lambda: [None], r"a batch must be \(inputs, target\), but the loader yielded 'NoneType'"),
    ],
)
def test_data_that_cannot_be_trained_on_is_told(loader: Callable[[], Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        swept(partial(build, loader))


def _exit() -> None:
    os._exit(3)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(TensorDataset):
    def __init__(self, end: Callable[[], None]) -> None:
        super().__init__(INPUTS[:, :3], INPUTS[:, :1])
        self._end = end

    def __getitem__(self, index: int) -> Any:
        if index == 40:
            self._end()
        return super().__getitem__(index)


@pytest.mark.skipif(sys.platform != "linux", reason="the dataset goes to the workers by a fork")
@pytest.mark.parametrize(
    ("end", "told"),
    [(_exit, "exited with code 3|exit code 3"), (_kill, "was killed by SIGKILL|killed by signal: Kill")],
)
def test_a_worker_of_the_loader_that_dies_is_told_with_its_end(end: Callable[[], None], told: str) -> None:
    loader = DataLoader(Dying(end), batch_size=8, num_workers=1)
    with pytest.raises((RuntimeError, OSError, EOFError)) as caught:  # torch notices the end, or the connection's
        steps(linear_workload(train_loader=loader), 20)
    assert re.search(told, "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())]))
