"""The data of one rank: its share of a loader's samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, RandomSampler, SequentialSampler

from lrscout.engine.batches import batches_in
from lrscout.engine.loaders import rebuilt


class SharedLoader:
    """A DataLoader of which every rank takes its share, in another order in every pass if it shuffles."""

    def __init__(self, loader: DataLoader[Any], ranks: int, rank: int, seed: int) -> None:
        shuffles = isinstance(loader.sampler, RandomSampler)
        self._sampler: DistributedSampler[Any] = DistributedSampler(
            loader.dataset, ranks, rank, shuffle=shuffles, seed=seed, drop_last=loader.drop_last
        )
        self._loader = rebuilt(loader, sampler=self._sampler)
        self._passes = 0

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        self._sampler.set_epoch(self._passes)
        self._passes += 1
        return iter(self._loader)


def shared(loader: Any, ranks: int, rank: int, seed: int) -> tuple[Any, str | None]:
    """The loader of one rank; and, where every rank has the user's loader as it is, a sentence that says so."""
    why = _why_left_alone(loader)
    if why is None:
        return SharedLoader(loader, ranks, rank, seed), None
    if isinstance(getattr(loader, "sampler", None), DistributedSampler):
        return loader, None
    return loader, f"{why}, so it is left as it is: every rank reads all of it, unless it takes a share by itself."


def _why_left_alone(loader: Any) -> str | None:
    if not isinstance(loader, DataLoader):
        return f"The train_loader is no DataLoader ({type(loader).__name__!r})"
    if isinstance(loader.dataset, IterableDataset):
        return f"The train_loader has an IterableDataset ({type(loader.dataset).__name__!r})"
    if loader.batch_size is None:
        return "The train_loader has a batch_sampler of its own, or none"
    sampler = loader.sampler
    is_plain = type(sampler) is SequentialSampler or (
        type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == batches_in(loader.dataset)
    )
    return None if is_plain else f"The train_loader has a sampler of its own ({type(sampler).__name__!r})"
