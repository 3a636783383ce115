"""A small target that is sound, and others like it with one fault each."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from lrscout.engine.workload import Workload, make_workload

SAMPLES, FEATURES, CLASSES = 640, 8, 3


def data() -> tuple[Tensor, Tensor]:
    """Inputs, and their classes, which a linear layer can tell."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator)
    return inputs, (inputs @ torch.randn(FEATURES, CLASSES, generator=generator)).argmax(1)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, CLASSES))


def parts(model: nn.Module | None = None, dataset: Any = None, lr: float = 3e-3, **more: Any) -> Workload:
    """A sound target, but for what is given; it keeps to one generator."""
    model = net() if model is None else model
    dataset = TensorDataset(*data()) if dataset is None else dataset
    given = {
        "model": model,
        "train_loader": DataLoader(dataset, 32, shuffle=not isinstance(dataset, IterableDataset)),
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.AdamW(model.parameters(), lr=lr),
        **more,
    }
    return make_workload(given)


def sound() -> Workload:
    return parts()


def preloaded() -> Workload:
    """Its loader costs nothing, which those that collate cannot promise on a busy machine."""
    return parts(train_loader=list(OwnBatches()))


# The batch


def missing_values() -> Workload:
    inputs, labels = data()
    return parts(dataset=TensorDataset(inputs.where(inputs < 2, math.nan), labels))


def no_batches() -> Workload:
    return parts(train_loader=DataLoader(TensorDataset(*data()), 1000, drop_last=True))


# The parameters


def frozen_layer() -> Workload:
    model = net()
    model[0].requires_grad_(False)
    return parts(model)


def forgotten_head() -> Workload:
    model = net()
    return parts(model, optimizer=torch.optim.AdamW(model[0].parameters()))


def other_model() -> Workload:
    return parts(optimizer=torch.optim.AdamW([*net().parameters()]))


# The loss and its gradients


class Ending(nn.Module):
    """The net with something behind it."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.end = net(), end

    def forward(self, inputs: Tensor) -> Tensor:
        return self.end(self.net(inputs))


def softmax() -> Workload:
    return parts(Ending(lambda scores: scores.softmax(1)))


def scores_as_logarithms() -> Workload:
    return parts(loss_fn=nn.NLLLoss())


def sigmoid() -> Workload:
    inputs, labels = data()
    wanted = nn.functional.one_hot(labels, CLASSES).float()
    return parts(Ending(torch.sigmoid), TensorDataset(inputs, wanted), loss_fn=nn.BCEWithLogitsLoss())


def overconfident() -> Workload:
    return parts(Ending(lambda scores: 100 * scores))


def infinite() -> Workload:
    return parts(loss_fn=lambda scores, labels: nn.functional.cross_entropy(scores, labels) / 0)


def regression() -> Workload:
    inputs, _ = data()
    return parts(dataset=TensorDataset(inputs, inputs[:, :CLASSES]), loss_fn=nn.MSELoss())


class DeadBranch(nn.Module):
    def __init__(self, factor: float | None) -> None:
        super().__init__()
        self.net, self.aside, self.factor = net(), nn.Linear(FEATURES, CLASSES), factor

    def forward(self, inputs: Tensor) -> Tensor:
        scores = self.net(inputs)
        return scores if self.factor is None else scores + self.factor * self.aside(inputs)


def dead_branch() -> Workload:
    return parts(DeadBranch(None))


def zero_branch() -> Workload:
    return parts(DeadBranch(0.0))


class Lora(nn.Module):
    """A branch whose second factor begins at 0, so that the first has no gradient at the first step."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.down, self.up = net(), nn.Linear(FEATURES, 2, bias=False), nn.Linear(2, CLASSES, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs) + self.up(self.down(inputs))


def lora() -> Workload:
    return parts(Lora())


def root_of_zero() -> Workload:
    return parts(Ending(lambda scores: scores + (0 * scores).sqrt()))


# Learning


def rounded() -> Workload:
    return parts(Ending(lambda scores: scores.detach().round() + 0 * scores))


def noisy_labels() -> Workload:
    return parts(loss_fn=nn.CrossEntropyLoss(label_smoothing=0.6))


def low_rate() -> Workload:
    return parts(lr=1e-3 / 3)


def shuffled_labels() -> Workload:
    inputs, labels = data()
    return parts(dataset=TensorDataset(inputs, labels[torch.randperm(SAMPLES)]))


class TwoModels(nn.Module):
    """Other signs in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs) if self.training else -self.net(inputs)


def two_models() -> Workload:
    return parts(TwoModels())


def normalized(momentum: float = 0.1, batch_size: int = 32) -> Workload:
    model = nn.Sequential(nn.Linear(FEATURES, 32), nn.BatchNorm1d(32, momentum=momentum), nn.ReLU(), nn.Linear(32, 3))
    return parts(model, train_loader=DataLoader(TensorDataset(*data()), batch_size, shuffle=True))


def lagging_norm() -> Workload:
    return normalized(momentum=1e-4)


def norm_of_few() -> Workload:
    return normalized(batch_size=4)


def with_dropout() -> Workload:
    return parts(nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, CLASSES)))


# Speed and precision


class SlowDataset(TensorDataset):
    def __getitem__(self, index: int) -> Any:
        time.sleep(0.0005)
        return super().__getitem__(index)


def slow_loader() -> Workload:
    return parts(dataset=SlowDataset(*data()))


def overflowing() -> Workload:
    """A number that fp16 does not have, times 0."""
    return parts(Ending(lambda scores: scores + 0 * through_linear(torch.full(scores.shape, 1e5))))


def rounding_off() -> Workload:
    """A small difference of large numbers, which half precision does not have."""
    return parts(Ending(lambda scores: through_linear(scores + 3000) - 3000))


def through_linear(scores: Tensor) -> Tensor:
    return nn.functional.linear(scores, torch.eye(CLASSES))


# What changes from run to run

_calls = itertools.count()


def unseeded_weights() -> Workload:
    model = net()
    nn.init.normal_(model[0].weight, generator=torch.Generator().manual_seed(next(_calls)))
    return parts(model)


class UnseededDataset(Dataset):
    """Adds noise from a generator of its own."""

    def __init__(self) -> None:
        self.samples, self.generator = TensorDataset(*data()), torch.Generator()
        self.generator.manual_seed(next(_calls))

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Any:
        inputs, label = self.samples[index]
        return inputs + torch.randn(FEATURES, generator=self.generator), label


def unseeded_data() -> Workload:
    return parts(dataset=UnseededDataset())


def unseeded_step() -> Workload:
    generator = torch.Generator().manual_seed(next(_calls))
    return parts(Ending(lambda scores: scores + torch.randn(scores.shape, generator=generator)))


# Exceptions


def raises_in_the_loss() -> Workload:
    def broken(scores: Tensor, labels: Tensor) -> Tensor:
        raise IndexError("the user's own mistake")

    return parts(loss_fn=broken)


class OnlyTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            raise RuntimeError("no evaluation here")
        return self.net(inputs)


def raises_in_evaluation() -> Workload:
    return parts(OnlyTraining())


# Datasets instead of loaders


class Samples(IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        return zip(*data())


class NumberedSamples(IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        return ({"inputs": x, "label": int(y)} for x, y in zip(*data()))


class OwnBatches(IterableDataset):
    """Batches that it makes itself, with a number beside them if asked for."""

    def __init__(self, numbered: bool = False) -> None:
        self.numbered = numbered

    def __iter__(self) -> Iterator[Any]:
        for x, y in zip(*(part.split(32) for part in data())):
            yield (x, y, 32) if self.numbered else (x, y)


def map_dataset(batch_size: int = 4) -> dict[str, Any]:
    return as_dict(sound(), TensorDataset(*data()))


def as_dict(workload: Workload, loader: Any) -> dict[str, Any]:
    return {field.name: getattr(workload, field.name) for field in dataclasses.fields(workload)} | {
        "train_loader": loader
    }


def iterable_dataset(batch_size: int = 4) -> dict[str, Any]:
    return as_dict(sound(), Samples())


def numbered_samples() -> dict[str, Any]:
    return as_dict(sound(), NumberedSamples())


def iterable_batches() -> dict[str, Any]:
    return as_dict(sound(), OwnBatches())


def list_of_batches() -> dict[str, Any]:
    return as_dict(sound(), list(OwnBatches()))


def iterable_in_loader() -> dict[str, Any]:
    return as_dict(sound(), DataLoader(Samples(), 32))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head, self.kept = nn.Linear(FEATURES + 16, 16), nn.Linear(16, CLASSES), SimpleNamespace()

    def forward(self, inputs: Any, state: Any) -> Any:
        state = torch.zeros(len(inputs), 16) if state is None else state
        state = torch.tanh(self.cell(torch.cat([inputs, state], 1)))
        return self.head(state), state.detach()


SHARED: Any = None


def recurrent(keeps: str) -> Workload:
    """Its step keeps a hidden state for the next batch, outside of the attributes of a module."""
    model, here, box, values = Recurrent(), None, {}, torch.zeros(32, 16)
    queue, stack = deque([torch.zeros(32, 16)]), [torch.full((32, 16), 0.5)]
    expanded = torch.zeros(16).expand(32, 16)  # which nobody can write to

    def step(batch: Any) -> Any:
        global SHARED
        nonlocal here
        assert not expanded.any()
        before = {
            "global": SHARED,
            "closure": here,
            "dict": box.get("h"),
            "object": getattr(model.kept, "h", None),
            "in place": values,
            "deque": queue[0] if queue else None,
            "list": stack[-1] if stack else None,
        }
        scores, state = model(batch[0], before[keeps])
        if keeps == "global":
            SHARED = state
        elif keeps == "closure":
            here = state
        elif keeps == "dict":
            box["h"] = state
        elif keeps == "object":
            model.kept.h = state
        elif keeps == "deque":
            queue[0] = state
        elif keeps == "list":
            stack[:] = []
        else:
            values.copy_(state)
        return nn.functional.cross_entropy(scores, batch[1])

    return parts(model, loss_fn=None, step=step)


class Cached(nn.Module):
    """Makes a table in its first step, and remembers by a flag or a length that it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.cache = nn.Linear(FEATURES, CLASSES), SimpleNamespace(ready=False, table=None, length=0)

    def forward(self, inputs: Any) -> Any:
        if not self.cache.ready:
            self.cache.table, self.cache.ready = torch.zeros(CLASSES), True
        return self.head(inputs) + self.cache.table


def cached_by_closure() -> Workload:
    """The same in two variables around its step."""
    model, table, length = nn.Linear(FEATURES, CLASSES), None, 0

    def step(batch: Any) -> Any:
        nonlocal table, length
        if length != CLASSES:
            table, length = torch.zeros(CLASSES), CLASSES
        return nn.functional.cross_entropy(model(batch[0]) + table, batch[1])

    return parts(model, loss_fn=None, step=step)


def cached() -> Workload:
    return parts(Cached())


def resizing() -> Workload:
    """Its step changes the shape of a tensor that it keeps."""
    model, kept = nn.Linear(FEATURES, CLASSES), torch.zeros(4)

    def step(batch: Any) -> Any:
        kept.resize_(len(kept) + 1)
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    return parts(model, loss_fn=None, step=step)


def timing_out() -> Workload:
    """A step whose own code raises a TimeoutError in half precision."""
    model = nn.Linear(FEATURES, CLASSES)

    def step(batch: Any) -> Any:
        scores = model(batch[0])
        if scores.dtype != torch.float32:
            raise TimeoutError("the server did not answer")
        return nn.functional.cross_entropy(scores, batch[1])

    return parts(model, loss_fn=None, step=step)


def compiled() -> Workload:
    """A model that is compiled as a whole."""
    return parts(torch.compile(nn.Linear(FEATURES, CLASSES), fullgraph=True, backend="aot_eager"))
