"""The data of one rank: its share of a loader's samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, RandomSampler, SequentialSampler

from lrscout.engine.batches import batches_in
from lrscout.engine.loaders import rebuilt


class ShareSampler(DistributedSampler[Any]):
    """A rank's share of the samples, in another order in every pass if they are shuffled."""

    def __iter__(self) -> Iterator[Any]:
        order = super().__iter__()
        self.epoch += 1
        return order


def shared(loader: Any, ranks: int, rank: int, seed: int) -> tuple[Any, str | None]:
    """The loader of one rank; and, where that is not a share of it in batches of its size, a sentence that says so."""
    why = _why_left_alone(loader)
    if why is None:
        shuffles = isinstance(loader.sampler, RandomSampler)
        sampler = ShareSampler(loader.dataset, ranks, rank, shuffle=shuffles, seed=seed, drop_last=loader.drop_last)
        return rebuilt(loader, sampler=sampler), _about_share(len(sampler), loader.batch_size)
    if isinstance(getattr(loader, "sampler", None), DistributedSampler):
        return loader, None
    left = "so it is left as it is: every rank reads all of it, unless it takes a share by itself."
    return loader, f"The train_loader {why}, {left}"


def _about_share(samples: int, size: int) -> str | None:
    if samples >= size:
        return None
    are = "is" if samples == 1 else "are"
    return f"The train_loader has batches of {size}, but there {are} only {samples} of the samples for each rank."


def shared_to_evaluate(loader: Any, ranks: int, rank: int) -> Any:
    """The held-out data of one rank, the same in every pass and without a sample left out; else the loader as it is."""
    if _why_left_alone(loader) is not None:
        return loader
    sampler = DistributedSampler[Any](loader.dataset, ranks, rank, shuffle=False)
    return rebuilt(loader, sampler=sampler, drop_last=False)


def begin_anew(loader: Any) -> None:
    """Let the next pass be the first one again."""
    sampler = getattr(loader, "sampler", None)
    if isinstance(sampler, ShareSampler):
        sampler.set_epoch(0)


def _why_left_alone(loader: Any) -> str | None:
    if not isinstance(loader, DataLoader):
        return f"is no DataLoader ({type(loader).__name__!r})"
    if isinstance(loader.dataset, IterableDataset):
        return f"has an IterableDataset ({type(loader.dataset).__name__!r})"
    if loader.batch_size is None:
        return "has a batch_sampler of its own, or none"
    sampler = loader.sampler
    is_plain = type(sampler) is SequentialSampler or (
        type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == batches_in(loader.dataset)
    )
    return None if is_plain else f"has a sampler of its own ({type(sampler).__name__!r})"
