"""How a batch size is set: by the target's own argument, or by rebuilding its DataLoader."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sized
from time import perf_counter
from typing import Any

from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from lrscout.engine.batches import parts_of
from lrscout.engine.randomness import seed_everything
from lrscout.engine.target import is_factory, make_target
from lrscout.engine.workload import Workload, make_workload
from lrscout.errors import TargetError, UsageError, did_you_mean
from lrscout.results import Target

DEFAULT_ARGUMENT = "batch_size"
LOOKED_AT = 256  # samples, spread evenly over the data set, among which the longest is looked for
LOOKING_SECONDS = 2.0


class Source:
    """Where workloads of any batch size come from."""

    def __init__(self, found: Any, target: Target, argument: str, seed: int) -> None:
        self.found, self._target, self._argument, self._seed = found, target, argument, seed
        self.takes_size = self._takes_size()

    def own(self, smallest: int) -> Workload:
        """The workload as the target gives it; a size that it asks for and nobody gave is the smallest."""
        needs = self.takes_size and self._argument not in self._target.kwargs and self._has_no_default()
        return self._made({self._argument: smallest} if needs else {})

    def sized(self, batch_size: int) -> Workload:
        """The workload with batches of this size.

        Raises:
            UsageError: its loader cannot be rebuilt.
        """
        if self.takes_size:
            return self._made({self._argument: batch_size})
        workload = self._made({})
        loaders: dict[str, Any] = {
            name: resized(loader, batch_size, name)
            for name in ("train_loader", "val_loader")
            if (loader := getattr(workload, name)) is not None
        }
        return dataclasses.replace(workload, **loaders)

    def _made(self, more: Mapping[str, Any]) -> Workload:
        seed_everything(self._seed)
        target = dataclasses.replace(self._target, kwargs={**self._target.kwargs, **more})
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


def resized(loader: Any, batch_size: int, name: str = "train_loader") -> DataLoader[Any]:
    """A loader of the same samples in batches of this size, with the same sampler, collate function and workers.

    Raises:
        UsageError: it makes its batches in a way of its own.
    """
    hint = "Let the target take batch_size (or --batch-arg NAME) and make its loader with it."
    if not isinstance(loader, DataLoader):
        raise UsageError(
            f"The {name} is {type(loader).__name__!r} and no DataLoader, so its batch size cannot be set.", hint=hint
        )
    if loader.batch_size is None:
        by = "its data set" if loader.batch_sampler is None else f"{type(loader.batch_sampler).__name__!r}"
        raise UsageError(f"The {name}'s batches are made by {by}, so their size cannot be set.", hint=hint)
    more: dict[str, Any] = {"prefetch_factor": loader.prefetch_factor} if loader.num_workers else {}
    if not isinstance(loader.dataset, IterableDataset):
        more["sampler"] = loader.sampler
    return DataLoader(
        loader.dataset,
        batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        persistent_workers=loader.persistent_workers,
        **more,
    )


def evaluated_loader(workload: Workload) -> Any:
    """What a training evaluates on; where nobody knows, the training data."""
    return workload.train_loader if workload.val_loader is None else workload.val_loader


def dataset_size(loader: Any) -> int | None:
    """The samples that a loader draws from in one pass; None where nobody knows."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    if loader.batch_size is None and not isinstance(loader.batch_sampler, BatchSampler):
        return None
    sampler = loader.sampler if loader.batch_size is not None else loader.dataset
    return len(sampler) if isinstance(sampler, Sized) else None


def longest_sample(loader: Any) -> int | None:
    """The index of the longest of the samples looked at; None where all are alike, or none can be looked at."""
    count = dataset_size(loader)
    if not count or loader.batch_size is None:
        return None
    sizes: dict[int, int] = {}
    started = perf_counter()
    total = len(loader.dataset)
    for number in range(min(total, LOOKED_AT)):
        index = number * total // min(total, LOOKED_AT)
        sizes[index] = _extent(loader.dataset[index])
        if perf_counter() - started > LOOKING_SECONDS:
            break
    return max(sizes, key=sizes.__getitem__) if min(sizes.values()) < max(sizes.values()) else None


def _extent(sample: Any) -> int:
    """How much a sample holds: entries of tensors and arrays, items of lists, characters of texts."""
    if isinstance(sample, Tensor):
        return sample.numel()
    if hasattr(sample, "shape") and hasattr(sample, "size") and isinstance(sample.size, int):  # NumPy's
        return sample.size
    if isinstance(sample, (str, bytes)):
        return len(sample)
    parts = parts_of(sample)
    return 1 if parts is None else sum(map(_extent, parts))
