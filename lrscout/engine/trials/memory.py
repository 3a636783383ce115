"""What memory there is, what a training step takes of it, and how it is kept to a limit."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import Protocol

import torch

from lrscout.processes.status import status_bytes

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

PROC = Path("/proc/self")
CGROUPS = Path("/sys/fs/cgroup")


class Memory(Protocol):
    """One device's memory, as a trial uses it."""

    measures: bool  # whether peaks can be told

    def available(self) -> int | None:
        """What a training step could take now."""

    def begin(self, limit_bytes: int | None, counted: int = 0) -> None:
        """Count from here on, and allow no more than the limit; `counted` of what is held already belong to it."""

    def tighten(self) -> None:
        """The first step is done: from here on nothing is lent."""

    def end(self) -> None:
        """Lift the limit."""

    def loosen(self) -> None:
        """For steps that are timed: what made memory measurable may cost time."""

    def reset_peak(self) -> None: ...

    def peak(self) -> int | None:
        """The most that was held since the peak was reset."""

    def held(self) -> int | None:
        """What is held now."""

    def discomfort(self) -> str | None:
        """Why what ran does not count as fitting; None where it does."""


def memory_of(device: torch.device) -> Memory:
    """The memory of a device; of most, nothing can be told."""
    if device.type == "cuda":
        return CudaMemory(device)
    return ProcessMemory() if device.type == "cpu" and sys.platform == "linux" else UnknownMemory()


class UnknownMemory:
    """A device that tells nothing: trials find out by failing."""

    measures = False

    def available(self) -> int | None:
        return None

    def begin(self, limit_bytes: int | None, counted: int = 0) -> None:
        pass

    def tighten(self) -> None:
        pass

    def end(self) -> None:
        pass

    def loosen(self) -> None:
        pass

    def reset_peak(self) -> None:
        pass

    def peak(self) -> int | None:
        return None

    def held(self) -> int | None:
        return None

    def discomfort(self) -> str | None:
        return None


class ProcessMemory:
    """The memory of this process on Linux: resident pages are counted, RLIMIT_DATA is the limit.

    Pages of files are left out: the libraries' code comes in bit by bit, and the kernel can drop it.
    """

    measures = True

    def __init__(self) -> None:
        self._base = 0
        self._limit: int | None = None
        self._before: tuple[int, int] | None = None

    def available(self) -> int | None:
        return available_memory()

    def begin(self, limit_bytes: int | None, counted: int = 0) -> None:
        _set_malloc(FIXED_THRESHOLD)
        self._base = 0
        self._base = (self.held() or 0) - counted
        if limit_bytes is not None:
            self._before, self._limit = resource.getrlimit(resource.RLIMIT_DATA), limit_bytes
            self._allow(limit_bytes + UNTOUCHED)

    def tighten(self) -> None:
        if self._limit is not None:
            self._allow(self._limit - (self.held() or 0))

    def _allow(self, more_bytes: int | None) -> None:
        if self._before is not None and more_bytes is not None:
            wanted = max(0, _status("VmData") + more_bytes)
            limits = [wanted, *(limit for limit in self._before if limit != resource.RLIM_INFINITY)]
            resource.setrlimit(resource.RLIMIT_DATA, (min(limits), self._before[1]))

    def end(self) -> None:
        if self._before is not None:
            resource.setrlimit(resource.RLIMIT_DATA, self._before)
            self._before = self._limit = None
        _set_malloc(LARGEST_THRESHOLD)

    def loosen(self) -> None:
        # while every tensor's pages come fresh from the kernel, a third of the speed is lost; kept, they fragment
        self._allow(available_memory())
        _set_malloc(LARGEST_THRESHOLD)

    def reset_peak(self) -> None:
        (PROC / "clear_refs").write_text("5")

    def peak(self) -> int | None:
        return max(0, _status("VmHWM") - _status("RssFile") - self._base)

    def held(self) -> int | None:
        return _status("RssAnon") + _status("RssShmem") - self._base

    def discomfort(self) -> str | None:
        return None


class CudaMemory:
    """The memory of one GPU under torch's caching allocator.

    The line is fitted to what tensors take, and judged by what the allocator reserves for them.
    """

    measures = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._limit: int | None = None
        self._retries = 0

    def available(self) -> int | None:
        free, _ = torch.cuda.mem_get_info(self._device)
        return free + torch.cuda.memory_reserved(self._device)

    def begin(self, limit_bytes: int | None, counted: int = 0) -> None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)
        self._limit, self._retries = limit_bytes, self._count_retries()
        if limit_bytes is not None:
            _, total = torch.cuda.mem_get_info(self._device)
            torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), self._device)

    def tighten(self) -> None:
        pass

    def end(self) -> None:
        torch.cuda.set_per_process_memory_fraction(1.0, self._device)

    def loosen(self) -> None:
        pass

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> int | None:
        return torch.cuda.max_memory_allocated(self._device)

    def held(self) -> int | None:
        return torch.cuda.memory_allocated(self._device)

    def discomfort(self) -> str | None:
        reserved = torch.cuda.memory_reserved(self._device)  # nothing is given back while a trial runs
        if self._limit is not None and reserved > self._limit:
            return f"The allocator reserved {reserved} bytes, over the limit of {self._limit}."
        if self._count_retries() > self._retries:
            return "It ran only after the allocator had emptied its cache."
        return None

    def _count_retries(self) -> int:
        return int(torch.cuda.memory_stats(self._device).get("num_alloc_retries", 0))


UNTOUCHED = 512 << 20  # what libraries may reserve and not touch until the first step is done: the limit counts it
FIXED_THRESHOLD = 64 << 10  # of malloc's mmap: with glibc's own moving one the peak does not follow the batch size
LARGEST_THRESHOLD = 32 << 20  # to which glibc's own rises at most, as it does in any long training
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt's names


def _set_malloc(threshold: int) -> None:
    """Take from the kernel and give back to it whatever is larger than this; smaller pieces malloc keeps."""
    with contextlib.suppress(Exception):  # another C library
        import ctypes

        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, threshold)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * threshold)
        libc.malloc_trim(0)


def _status(name: str) -> int:
    return status_bytes((PROC / "status").read_text(), name)


def available_memory() -> int | None:
    """What this process may still take: the smaller of the machine's free memory and its cgroup's; None if unknown."""
    try:
        known = [status_bytes(Path("/proc/meminfo").read_text(), "MemAvailable")]
    except OSError:
        return None
    return min([*known, *_cgroup_room()])


def _cgroup_room() -> list[int]:
    """What is left under the limit of every cgroup that this process is in, in versions 1 and 2."""
    room = []
    with contextlib.suppress(OSError, ValueError):
        for line in (PROC / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root = CGROUPS / "memory" if controllers else CGROUPS
            names = (
                ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
            )
            folder = root / path.lstrip("/")
            for each in (folder, *folder.parents):
                if each.is_relative_to(root):
                    room += _room_in(each, *names)
    return room


def _room_in(folder: Path, limit_name: str, usage_name: str) -> list[int]:
    try:
        limit = int((folder / limit_name).read_text())  # "max": no limit
        usage = int((folder / usage_name).read_text())
        cached = re.search(r"^(?:total_)?inactive_file ([0-9]+)", (folder / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return []
    return [max(0, limit - usage + (int(cached[1]) if cached else 0))]
