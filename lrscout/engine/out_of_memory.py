"""Distinguishes exceptions that mean "does not fit" from bugs in the user's code."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import torch

from lrscout.errors import summary
from lrscout.processes.memory_errors import means_out_of_memory


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
    return means_out_of_memory(summary(error), limited)


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
