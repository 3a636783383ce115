"""Distinguishes exceptions that mean "does not fit" from bugs in the user's code."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import torch

MESSAGES = (
    "cuda out of memory",
    "cuda error: out of memory",  # torch.AcceleratorError, when a kernel is launched
    "hip out of memory",
    "hip error: out of memory",
    "xpu out of memory",
    "ur_result_error_out_of_device_memory",
    "mps backend out of memory",
    "defaultcpuallocator: can't allocate memory",
    "defaultcpuallocator: not enough memory",  # on Windows
    "std::bad_alloc",
    "cublas_status_alloc_failed",
    "hipblas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cudnn_status_internal_error",  # how cuDNN fails if there is no memory for its workspace
    "unable to find a valid cudnn algorithm",
    "out of shared memory",  # a DataLoader worker's batch did not fit into /dev/shm, and a bus error killed it
    "killed by signal: bus error",
    "killed by signal: killed",
)

MESSAGES_UNDER_LIMIT = (
    "could not create a primitive",
    "could not create a memory object",
    "failed to map segment from shared object",
    "can't start new thread",
    "cannot allocate memory",
)
"""Other failures that a limit on the memory of the process causes; without a limit, they mean something else."""


def is_out_of_memory(error: BaseException, limited: bool = False) -> bool:
    """Whether an exception, or one that led to it, means out of memory; `limited` if the process has a memory limit."""
    return any(_means_out_of_memory(each, limited) for each in _chain(error))


def _means_out_of_memory(error: BaseException, limited: bool) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if not isinstance(error, (RuntimeError, OSError, ImportError, SystemError)):
        return False  # a ValueError that quotes such a message comes from the user's code
    text = str(error).lower()
    return any(message in text for message in (*MESSAGES, *(MESSAGES_UNDER_LIMIT if limited else ())))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception, its causes and contexts, and the members of exception groups."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
