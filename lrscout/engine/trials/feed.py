"""The batches of a trial."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any

from lrscout.engine.batches import Batches, tensors_in
from lrscout.errors import WorkloadError


class TooFewSamples(Exception):  # noqa: N818  a finding, not an error
    """The loader yields no batch of the requested size."""


def _leading_dimensions(batch: Any) -> tuple[set[int], set[int]]:
    """The sizes of the first and of the second dimension of all tensors in a batch."""
    shapes = [tensor.shape for tensor in tensors_in(batch)]
    return {shape[0] for shape in shapes if shape}, {shape[1] for shape in shapes if len(shape) > 1}


def is_full(batch: Any, batch_size: int, sequences_first: bool) -> bool:
    """Whether a batch has at least the requested number of samples, as far as the shapes of its tensors show.

    Samples are counted along the first dimension or, with `sequences_first`, along the second. Batches of graphs or
    packed sequences have more rows than samples.
    """
    first, second = _leading_dimensions(batch)
    return not first or max(first) >= batch_size or (sequences_first and batch_size in second)


class Feed(Iterator[Any]):
    """The batches of a trial: the worst case while memory is measured, then full batches from the loader.

    Its generator, samplers and dataset are those of the loader, so that a session can restore their random states.
    """

    def __init__(self, loader: Any, batch_size: int, longest: int | None) -> None:
        self.generator = getattr(loader, "generator", None)
        self.seconds_waited = 0.0
        self._loader, self._batch_size = loader, batch_size
        self._longest = longest
        # unless the loader has this batch size, a second dimension of that size may mean anything, such as features
        self._sequences_first = getattr(loader, "batch_size", None) == batch_size
        self._worst: Any = None
        self._batches: Batches | None = None

    def __getattr__(self, name: str) -> Any:
        if name in ("sampler", "batch_sampler", "dataset"):
            return getattr(self._loader, name)
        raise AttributeError(name)

    def __iter__(self) -> Feed:
        self._batches = None
        return self

    def __next__(self) -> Any:
        if self._longest is not None:
            if self._worst is None:
                sample = self._loader.dataset[self._longest]
                self._worst = self._loader.collate_fn([sample] * self._batch_size)
            return self._worst
        started = perf_counter()
        if self._batches is None:
            self._batches = Batches(self._loader)
        batch = self._full_batch()
        self.seconds_waited += perf_counter() - started
        return batch

    def _full_batch(self) -> Any:
        assert self._batches is not None
        for _ in range(3):  # the last batch of a pass may be short, but the first of the next is full
            try:
                batch = next(self._batches)
            except WorkloadError as error:
                raise TooFewSamples(error.message) from error
            if is_full(batch, self._batch_size, self._sequences_first):
                return batch
        largest = max(_leading_dimensions(batch)[0])
        raise TooFewSamples(f"The loader yields batches of {largest} samples instead of {self._batch_size}.")

    def end_worst_case(self) -> None:
        """Yield the loader's own batches from now on."""
        self._longest = self._worst = None

    def _shutdown_workers(self) -> None:  # like the iterator of a DataLoader, for Batches.close
        if self._batches is not None:
            self._batches.close()
