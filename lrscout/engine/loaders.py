"""A DataLoader made again, with another batch size or another sampler."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, IterableDataset, Sampler


def rebuilt(
    loader: DataLoader[Any],
    *,
    batch_size: int | None = None,
    sampler: Sampler[Any] | None = None,
    drop_last: bool | None = None,
) -> DataLoader[Any]:
    """The same loader with other settings; one that does not batch the samples itself cannot be made."""
    more: dict[str, Any] = {"prefetch_factor": loader.prefetch_factor} if loader.num_workers else {}
    if not isinstance(loader.dataset, IterableDataset):
        more["sampler"] = sampler if sampler is not None else loader.sampler
    return DataLoader(
        loader.dataset,
        batch_size or loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last if drop_last is None else drop_last,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        persistent_workers=loader.persistent_workers,
        **more,
    )
