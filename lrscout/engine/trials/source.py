"""Setting the batch size of a workload: with an argument of the target, or by rebuilding its DataLoaders."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sized
from contextlib import nullcontext
from time import perf_counter
from typing import Any

from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from lrscout.engine.batches import parts_of
from lrscout.engine.imports import own_arguments
from lrscout.engine.loaders import rebuilt
from lrscout.engine.randomness import seed_everything
from lrscout.engine.target import find_target, is_factory, make_target
from lrscout.engine.workload import Workload, make_workload
from lrscout.errors import TargetError, UsageError, did_you_mean
from lrscout.results import Target

DEFAULT_ARGUMENT = "batch_size"
CHECKED_SAMPLES = 256  # samples, spread evenly over the dataset, that the search for the longest looks at
MAX_CHECK_SECONDS = 2.0


class Source:
    """Builds the workload of a target, with any batch size.

    `live` is an object that was handed over in Python, instead of the one that the path names.

    Raises:
        TargetError: the target cannot be imported, or does not have the argument that --batch-arg names.
    """

    def __init__(self, target: Target, argument: str, seed: int, *, live: Any = None) -> None:
        self._target, self._argument, self._seed = target, argument, seed
        self._is_live = live is not None
        self.found = live if self._is_live else find_target(target)
        self.takes_size = self._takes_size()

    @property
    def argument(self) -> str | None:
        """The argument of the target that sets its batch size, if it has one."""
        return self._argument if self.takes_size else None

    def default(self, smallest: int) -> Workload:
        """Build the workload with its default batch size, or with `smallest` if the target requires one."""
        required = self.takes_size and self._argument not in self._target.kwargs and self._has_no_default()
        return self._build({self._argument: smallest} if required else {})

    def with_batch_size(self, batch_size: int) -> Workload:
        """Build the workload with batches of this size.

        Raises:
            UsageError: a loader cannot be rebuilt.
        """
        if self.takes_size:
            return self._build({self._argument: batch_size})
        return with_size(self._build({}), batch_size)

    def _build(self, more: Mapping[str, Any]) -> Workload:
        seed_everything(self._seed)
        target = dataclasses.replace(self._target, kwargs={**self._target.kwargs, **more})
        with nullcontext() if self._is_live else own_arguments(target):
            return make_workload(make_target(self.found, target))

    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        try:
            return inspect.signature(self.found).parameters if is_factory(self.found) else {}
        except (TypeError, ValueError):
            return {}

    def _takes_size(self) -> bool:
        known = self._parameters()
        if self._argument in known or self._argument in self._target.kwargs:
            return True
        if self._argument != DEFAULT_ARGUMENT:
            raise TargetError(
                f"{self._target.path or 'The target'} takes no argument {self._argument!r} (--batch-arg).",
                hint=did_you_mean(self._argument, tuple(known)),
            )
        return False

    def _has_no_default(self) -> bool:
        known = self._parameters().get(self._argument)
        return known is not None and known.default is inspect.Parameter.empty


def with_size(workload: Workload, batch_size: int) -> Workload:
    """The workload with batches of another size, as its host makes them, or else with its DataLoaders rebuilt.

    Raises:
        UsageError: a loader cannot be rebuilt.
    """
    sized = workload.host.with_batch_size(workload, batch_size)
    if sized is not None:
        return sized
    loaders: dict[str, Any] = {
        name: resized(loader, batch_size, name)
        for name in ("train_loader", "val_loader")
        if (loader := getattr(workload, name)) is not None
    }
    return dataclasses.replace(workload, **loaders)


def resized(loader: Any, batch_size: int, name: str = "train_loader") -> DataLoader[Any]:
    """Rebuild a DataLoader with another batch size, and the same dataset, sampler, collate function and workers.

    Raises:
        UsageError: it is not a DataLoader, or it does not batch the samples itself.
    """
    hint = "Add a batch_size argument to the target (or use --batch-arg NAME), and build the loader from it."
    if not isinstance(loader, DataLoader):
        kind = type(loader).__name__
        if isinstance(loader, IterableDataset):
            hint = f"Wrap it in a DataLoader. Or: {hint}"
        raise UsageError(f"The batch size of the {name} cannot be set: {kind!r} is not a DataLoader.", hint=hint)
    if loader.batch_size is None:
        maker = "its dataset" if loader.batch_sampler is None else f"{type(loader.batch_sampler).__name__!r}"
        raise UsageError(f"The batch size of the {name} cannot be set: {maker} makes the batches.", hint=hint)
    return rebuilt(loader, batch_size=batch_size)


def evaluation_loader(workload: Workload) -> Any:
    """The loader of the evaluation data; without one, that of the training data."""
    return workload.train_loader if workload.val_loader is None else workload.val_loader


def dataset_size(loader: Any) -> int | None:
    """The number of samples in one pass over a loader; None if it is unknown."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    if loader.batch_size is None and not isinstance(loader.batch_sampler, BatchSampler):
        return None
    sampler = loader.sampler if loader.batch_size is not None else loader.dataset
    return len(sampler) if isinstance(sampler, Sized) else None


def longest_sample(loader: Any) -> int | None:
    """The index of the longest among the checked samples; None if all have the same length, or none can be checked."""
    count = dataset_size(loader)
    if not count or loader.batch_size is None:
        return None
    sizes: dict[int, int] = {}
    started = perf_counter()
    total = len(loader.dataset)
    for number in range(min(total, CHECKED_SAMPLES)):
        index = number * total // min(total, CHECKED_SAMPLES)
        sizes[index] = _sample_size(loader.dataset[index])
        if perf_counter() - started > MAX_CHECK_SECONDS:
            break
    return max(sizes, key=sizes.__getitem__) if min(sizes.values()) < max(sizes.values()) else None


def _sample_size(sample: Any) -> int:
    """The size of a sample: elements of tensors and arrays, items of lists, characters of text, added up."""
    if isinstance(sample, Tensor):
        return sample.numel()
    if hasattr(sample, "shape") and hasattr(sample, "size") and isinstance(sample.size, int):  # a NumPy array
        return sample.size
    if isinstance(sample, (str, bytes)):
        return len(sample)
    parts = parts_of(sample)
    return 1 if parts is None else sum(map(_sample_size, parts))
