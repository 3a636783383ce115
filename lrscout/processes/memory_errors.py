"""What programs and libraries say when memory runs out; without torch."""

from __future__ import annotations

import re
from collections.abc import Iterable

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
    "cuda failure 2 'out of memory'",  # NCCL
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
    "thread creation failed",  # libgomp, which then ends the process
)
"""Other failures that a limit on the memory of the process causes; without a limit, they mean something else."""

NAMED = re.compile(r"^\s*(?:\[rank\d+\]:\s*)?(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*(?:Error|Exception))\b")
OF_MEMORY = ("MemoryError", "OutOfMemoryError")
MAY_MEAN_IT = ("RuntimeError", "OSError", "ImportError", "SystemError", "AcceleratorError", "DistBackendError")
"""Other exceptions that libraries raise when memory runs out: a ValueError that says so is a program's own words."""


def means_out_of_memory(text: str, limited: bool = False) -> bool:
    """Whether a message says that memory ran out; `limited` if the process has a memory limit."""
    text = text.lower()
    return any(message in text for message in (*MESSAGES, *(MESSAGES_UNDER_LIMIT if limited else ())))


def line_about_memory(lines: Iterable[str], limited: bool = False) -> str | None:
    """The first line of a program's output that says that its memory ran out; None if none does."""
    return next((line.strip() for line in lines if _says_so(line, limited)), None)


def _says_so(line: str, limited: bool) -> bool:
    named = NAMED.match(line)
    if named is not None and named[1] in OF_MEMORY:
        return True
    return (named is None or named[1] in MAY_MEAN_IT) and means_out_of_memory(line, limited)
