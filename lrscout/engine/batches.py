"""Feeding the user's data to the steps: endlessly, and on the right device."""

from __future__ import annotations

import copy
import dataclasses
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler, IterableDataset

from lrscout.errors import TargetError, WorkloadError
from lrscout.processes.deaths import Died

# the path of a Unix socket has at most 107 bytes, of which multiprocessing takes /pymp-abcdefgh/listener-abcdefgh
LONGEST_FOLDER = 107 - 32
WORKER_END_SECONDS = 0.1  # between the end of a worker's connections and its own


class Batches(Iterator[Any]):
    """Endless batches from a loader, which is restarted whenever it is exhausted.

    Raises (on next):
        WorkloadError: the loader is empty, or is exhausted and cannot be iterated again.
        TargetError: it is a dataset that yields samples.
    """

    def __init__(self, loader: Iterable[Any], name: str = "train_loader") -> None:
        self._loader = loader
        self._name = name
        self._iterator = iter(loader)
        self._count = 0

    def __next__(self) -> Any:
        for _ in range(2):  # at the end of the loader, try once more from its start
            try:
                batch = next(self._iterator)
            except StopIteration:
                self._iterator = iter(self._loader)
            except Exception as error:
                self._explain(error)
                raise
            else:
                if not self._count:
                    check_is_batch(self._loader, batch, self._name)
                self._count += 1
                return batch
        if self._count:
            raise WorkloadError(
                f"The {self._name} ended after {self._count} batches and cannot be iterated again.",
                hint="Use a DataLoader or a list of batches instead of a generator.",
            )
        raise WorkloadError(
            f"The {self._name} is empty.",
            hint=f"With drop_last=True, a batch size larger than {_all_of(self._loader)} leaves no batches.",
        )

    def _explain(self, error: Exception) -> None:
        """Say which worker died, if one did: torch's error may be that of a broken connection."""
        for worker in getattr(self._iterator, "_workers", ()):
            worker.join(WORKER_END_SECONDS)
            if worker.exitcode:
                error.add_note(f"A worker process of the {self._name} {Died(worker.exitcode)}.")

    def close(self) -> None:
        """Shut down the loader's worker processes."""
        shut_down_workers(self._iterator)
        self._iterator = iter(())


def check_is_loader(loader: Any, name: str) -> None:
    """See that a loader is not a dataset whose items are read by their indices: these are samples.

    Raises:
        TargetError: it is one.
    """
    if isinstance(loader, Dataset) and not isinstance(loader, IterableDataset):
        raise _not_a_loader(loader, name)


def check_is_batch(loader: Any, first: Any, name: str) -> None:
    """See that what an iterable dataset yields is not a single sample, as far as its first item shows.

    Raises:
        TargetError: it is one.
    """
    if isinstance(loader, IterableDataset) and _is_sample(first):
        raise _not_a_loader(loader, name)


def _not_a_loader(loader: Any, name: str) -> TargetError:
    shuffled = "" if isinstance(loader, IterableDataset) else ", shuffle=True"
    return TargetError(
        f"The {name} is a dataset ({type(loader).__name__!r}), whose items are single samples.",
        hint=f"Wrap it in a DataLoader: DataLoader(dataset, batch_size=64{shuffled}). If its items are batches already:"
        " DataLoader(dataset, batch_size=None).",
    )


def _is_sample(item: Any) -> bool:
    """Whether an item is clearly one sample: some of its parts are single numbers, and no two tensors agree in rows.

    A batch has as many labels as samples, and may have a number beside them.
    """
    parts = parts_of(item)
    if not parts:
        return False
    rows = [tensor.shape[0] for tensor in tensors_in(item) if tensor.dim()]
    numbers = [part for part in parts if _is_whole_number(part) or (len(parts) == 2 and _is_number(part))]
    return bool(numbers) and len(set(rows)) == len(rows)


def _is_number(part: Any) -> bool:
    return not part.dim() if isinstance(part, Tensor) else isinstance(part, (int, float))


def _is_whole_number(part: Any) -> bool:
    return _is_number(part) and (not part.is_floating_point() if isinstance(part, Tensor) else isinstance(part, int))


def batches_in(loader: Any) -> int | None:
    """The number of batches in one pass over a loader; None if it is unknown or zero."""
    try:
        return len(loader) or None
    except (TypeError, NotImplementedError):  # an iterable dataset has no length
        return None


def samples_a_pass(loader: Any) -> int | None:
    """The samples in one pass over a loader, of one that ranks share those of this rank; None if it is unknown."""
    return batches_in(getattr(loader, "sampler", None))


def _all_of(loader: Any) -> str:
    """The samples of a loader, in words."""
    samples = samples_a_pass(loader)
    number = f" ({samples} sample{'s' if samples > 1 else ''})" if samples else ""
    is_share = isinstance(getattr(loader, "sampler", None), DistributedSampler)
    return f"{'the share of the dataset that each rank has' if is_share else 'the dataset'}{number}"


def check_workers_can_send(loader: Any) -> None:
    """See that the batches of a DataLoader's worker processes can arrive: else they wait for each other forever.

    Raises:
        WorkloadError: their sockets would have paths that are too long.
    """
    strategy = torch.multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]
    if not getattr(loader, "num_workers", 0) or strategy != "file_descriptor":
        return
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > LONGEST_FOLDER:
        raise WorkloadError(
            f"The DataLoader's workers send batches through sockets in the folder for temporary files, whose path may"
            f" have {LONGEST_FOLDER} bytes for that, but has {len(os.fsencode(folder))}: {folder}",
            hint="Set TMPDIR to a folder with a shorter path, or num_workers=0.",
        )


def shut_down_workers(iterator: Any) -> None:
    """Shut down a DataLoader iterator's worker processes now: a traceback that holds it would keep them alive."""
    shut_down = getattr(iterator, "_shutdown_workers", None)
    if shut_down is not None:
        shut_down()


def to_device(batch: Any, device: torch.device) -> Any:
    """Move every tensor in a batch to the device, at any depth; anything that cannot be moved stays as it is."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=device.type == "cuda")  # on others, the copy might outlive its source
    if callable(getattr(batch, "to", None)) and not isinstance(batch, type):
        # a tokenizer's encoding, a packed sequence, a graph
        moved = batch.to(device)
        return batch if moved is None else moved
    if isinstance(batch, MutableMapping):  # keep its type, which may have attributes too
        shallow = copy.copy(batch)
        for key, value in batch.items():
            shallow[key] = to_device(value, device)  # Hugging Face's outputs do not allow update()
        return shallow
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(to_device(value, device) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        values = {f.name: to_device(getattr(batch, f.name), device) for f in dataclasses.fields(batch) if f.init}
        return dataclasses.replace(batch, **values)
    return batch


def tensors_in(batch: Any) -> Iterator[Tensor]:
    """Yield every tensor in a batch, at any depth."""
    seen: set[int] = set()  # objects may refer to each other
    waiting = [batch]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Tensor):
            yield part
            continue
        parts = parts_of(part)
        if parts is None and hasattr(part, "__dict__") and not isinstance(part, type) and id(part) not in seen:
            seen.add(id(part))
            parts = list(vars(part).values())  # for example, a batch of graphs
        waiting += reversed(parts or ())


def parts_of(value: Any) -> Sequence[Any] | None:
    """The immediate parts of a batch or a sample; None for a tensor, text, and anything else without parts."""
    if isinstance(value, (Tensor, str, bytes)):
        return None
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, Sequence):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return None


def samples_in(batch: Any) -> int | None:
    """The number of samples in a batch: the length of its first tensor that is not a scalar; None if it has none."""
    return next((tensor.shape[0] for tensor in tensors_in(batch) if tensor.dim()), None)
