"""Batches never end, restart their loader, and move to the device whatever their form."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from lrscout.engine.batches import Batches, to_device
from lrscout.errors import WorkloadError

META = torch.device("meta")  # a device that every machine has


def take(loader: Any, count: int) -> list[Any]:
    batches = Batches(loader)
    return [next(batches) for _ in range(count)]


class Numbers(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


class ByIndex:
    def __getitem__(self, index: int) -> int:
        return [0, 1, 2][index]


@pytest.mark.parametrize("loader", [[0, 1, 2], range(3), ByIndex(), DataLoader(Numbers(), batch_size=None)])
def test_short_loader_is_restarted(loader: Any) -> None:
    assert take(loader, 7) == [0, 1, 2, 0, 1, 2, 0]


def test_shuffling_loader_is_shuffled_anew() -> None:
    loader = DataLoader(list(range(20)), batch_size=20, shuffle=True, generator=torch.Generator().manual_seed(0))
    first, second = (batch.tolist() for batch in take(loader, 2))
    assert sorted(first) == sorted(second)
    assert first != second


@pytest.mark.parametrize("loader", [[], DataLoader([1, 2], batch_size=4, drop_last=True), (x for x in ())])
def test_empty_loader_is_a_clear_error(loader: Any) -> None:
    with pytest.raises(WorkloadError, match="train_loader is empty"):
        take(loader, 1)


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        (None, "larger than the dataset (6 samples) leaves no batches"),
        (DistributedSampler(range(6), 2, 0), "larger than the share of the dataset that each rank has (3 samples)"),
    ],
    ids=["one process", "ranks"],
)
def test_a_loader_that_drops_its_only_batch_says_how_many_samples_it_has(sampler: Any, said: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        take(DataLoader(range(6), batch_size=8, drop_last=True, sampler=sampler), 1)
    assert said in caught.value.hint


def test_exhausted_generator_is_a_clear_error() -> None:
    batches = Batches(x for x in range(3))
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(WorkloadError, match="ended after 3 batches and cannot be iterated again"):
        next(batches)


def test_every_common_form_moves_to_the_device() -> None:
    pair = namedtuple("pair", "a b")
    x = torch.ones(2)
    batches = [
        x,
        (x, [x, {"x": x}]),
        pair(x, x),
        OrderedDict(x=x),
        MappingProxyType({"x": x}),
        pack_sequence([x.unsqueeze(1)]),
    ]
    for batch in batches[:-1]:
        moved = to_device(batch, META)
        assert tensors_in(moved)
        assert all(tensor.is_meta for tensor in tensors_in(moved))
    assert to_device(batches[-1], META).data.is_meta
    assert type(to_device(batches[2], META)) is pair
    assert x.device.type == "cpu"


def tensors_in(batch: Any) -> list[Tensor]:
    if isinstance(batch, Tensor):
        return [batch]
    if hasattr(batch, "items"):
        batch = batch.values()
    return [t for item in batch if item is not None for t in tensors_in(item)]


def test_what_is_no_tensor_stays() -> None:
    assert to_device(("text", 3, None, Tensor), META) == ("text", 3, None, Tensor)


class Output(OrderedDict[str, Any]):
    """As Hugging Face's ModelOutput: keys are attributes, update() is refused."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        return self[name]

    def update(self, *_: Any, **__: Any) -> None:
        raise TypeError


def test_mapping_keeps_its_type_and_attributes() -> None:
    given = Output()
    given["x"] = torch.ones(2)
    moved = to_device(given, META)
    assert moved.x.is_meta
    assert not given.x.is_meta


@dataclasses.dataclass(frozen=True)
class Sample:
    x: Tensor
    name: str
    length: int = dataclasses.field(init=False, default=1)


def test_dataclass_moves() -> None:
    moved = to_device(Sample(torch.ones(2), "a"), META)
    assert moved.x.is_meta
    assert moved.name == "a"


def test_object_with_to_moves_itself_and_may_do_so_in_place() -> None:
    class Graph:
        device: Any = None

        def to(self, device: Any) -> None:
            self.device = device

    graph = Graph()
    assert to_device([graph], META) == [graph]
    assert graph.device == META


class Workers:
    """The iterator of a loader whose connection broke, with workers that ended with these exit codes."""

    def __init__(self, *exit_codes: int | None) -> None:
        self._workers = [SimpleNamespace(join=lambda seconds: None, exitcode=code) for code in exit_codes]

    def __iter__(self) -> Workers:
        return self

    def __next__(self) -> Any:
        raise ConnectionResetError(104, "Connection reset by peer")


def test_a_broken_connection_is_explained_by_the_workers_that_died() -> None:
    with pytest.raises(ConnectionResetError) as caught:
        next(Batches(Workers(None, 0, 3, -9)))
    assert caught.value.__notes__ == [
        "A worker process of the train_loader exited with code 3.",
        "A worker process of the train_loader was killed by SIGKILL (perhaps out of memory).",
    ]
