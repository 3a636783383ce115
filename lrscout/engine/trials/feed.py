"""The batches that a trial is fed."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any

from lrscout.engine.batches import Batches, tensors_in
from lrscout.errors import WorkloadError


class TooFewSamples(Exception):  # noqa: N818  a finding
    """The loader gives no batch as large as it was asked for."""


def _first_dimensions(batch: Any) -> tuple[set[int], set[int]]:
    """The first and the second dimensions of all tensors in a batch."""
    shapes = [tensor.shape for tensor in tensors_in(batch)]
    return {shape[0] for shape in shapes if shape}, {shape[1] for shape in shapes if len(shape) > 1}


def is_full(batch: Any, batch_size: int, sequences_first: bool) -> bool:
    """Whether a batch holds as many samples as asked for, as far as its tensors show.

    Samples lie along the first dimension; with `sequences_first` they may lie along the second. Batches of graphs or
    packed sequences have more rows than samples.
    """
    first, second = _first_dimensions(batch)
    return not first or max(first) >= batch_size or (sequences_first and batch_size in second)


class Feed(Iterator[Any]):
    """What a trial is fed: the worst batch while its memory is measured, then the loader's own, all of full size.

    Attributes that it has not are the loader's, whose generators and samplers a session puts back by them.
    """

    def __init__(self, loader: Any, batch_size: int, longest: int | None) -> None:
        self.generator = getattr(loader, "generator", None)
        self.seconds_waited = 0.0
        self._loader, self._batch_size = loader, batch_size
        self._longest = longest
        # of any other loader, whose word on its size is not known, the second may be anything: features, say
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
        batch = self._full()
        self.seconds_waited += perf_counter() - started
        return batch

    def _full(self) -> Any:
        assert self._batches is not None
        for _ in range(3):  # a pass may end with a short one, the next begins with a full one
            try:
                batch = next(self._batches)
            except WorkloadError as error:
                raise TooFewSamples(error.message) from error
            if is_full(batch, self._batch_size, self._sequences_first):
                return batch
        given = max(_first_dimensions(batch)[0])
        raise TooFewSamples(f"The loader gives batches of {given} samples, and none of {self._batch_size}.")

    def leave_worst(self) -> None:
        """From here on give the loader's own batches."""
        self._longest = self._worst = None

    def _shutdown_workers(self) -> None:  # as a DataLoader's iterator has it, for Batches.close
        if self._batches is not None:
            self._batches.close()
