"""Telling an exception that means "does not fit" from a bug of the user's."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import torch

MESSAGES = (
    "cuda out of memory",
    "cuda error: out of memory",  # torch.AcceleratorError, from a kernel's launch
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
    "cudnn_status_internal_error",  # what is left to cuDNN where its workspace has no room
    "unable to find a valid cudnn algorithm",
    "out of shared memory",  # a worker's batch in a full /dev/shm: killed by a bus error
    "killed by signal: bus error",
    "killed by signal: killed",
)

UNDER_A_LIMIT = (
    "could not create a primitive",
    "could not create a memory object",
    "failed to map segment from shared object",
    "can't start new thread",
    "cannot allocate memory",
)
"""What else runs into a limit on a process's memory; without one, these words mean something else."""


def is_out_of_memory(error: BaseException, limited: bool = False) -> bool:
    """Whether memory ran out, by the exception or one that it came from; `limited`: the process has a limit."""
    return any(_is_itself(each, limited) for each in _chain(error))


def _is_itself(error: BaseException, limited: bool) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if not isinstance(error, (RuntimeError, OSError, ImportError, SystemError)):
        return False  # a ValueError that quotes such words is the user's
    text = str(error).lower()
    return any(words in text for words in (*MESSAGES, *(UNDER_A_LIMIT if limited else ())))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, the members of a group, and all that they were raised from or during."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
