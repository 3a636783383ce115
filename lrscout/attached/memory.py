"""Available memory, the memory that a training step takes, and enforcing a limit on it."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Protocol

import torch

from .status import PROC, available_memory, own_status

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


class Memory(Protocol):
    """The memory of one device during a trial. All amounts are bytes, and None if the device does not report them."""

    def available(self) -> int | None:
        """How much a training step could take now."""

    def begin(self, limit_bytes: int | None, counted: int = 0) -> None:
        """Start counting, and enforce the limit; `counted` bytes that are already held count toward it."""

    def tighten(self) -> None:
        """After the first step: withdraw the allowance for memory that libraries reserve but never touch."""

    def end(self) -> None:
        """Lift the limit."""

    def loosen(self) -> None:
        """Before steps are timed: undo what makes memory measurable at the expense of speed."""

    def reset_peak(self) -> None: ...

    def peak(self) -> int | None:
        """The most that was held since the peak was reset."""

    def held(self) -> int | None:
        """How much is held now."""

    def problem(self) -> str | None:
        """Why steps that ran do not count as fitting; None if they do."""


def memory_of(device: torch.device) -> Memory:
    """The memory of a device; most devices report nothing."""
    if device.type == "cuda":
        return CudaMemory(device)
    return ProcessMemory() if device.type == "cpu" and sys.platform == "linux" else UnknownMemory()


class UnknownMemory:
    """A device that reports nothing: a size is only found not to fit when its trial fails."""

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

    def problem(self) -> str | None:
        return None


class ProcessMemory:
    """The memory of this process on Linux: counts resident pages, and enforces the limit with RLIMIT_DATA.

    File-backed pages do not count: the code of libraries is loaded bit by bit, and the kernel can drop it.
    """

    def __init__(self) -> None:
        self._base = 0
        self._limit: int | None = None
        self._before: tuple[int, int] | None = None

    def available(self) -> int | None:
        return available_memory()

    def begin(self, limit_bytes: int | None, counted: int = 0) -> None:
        _set_mmap_threshold(MEASURING_THRESHOLD)
        self._base = 0
        self._base = (self.held() or 0) - counted
        if limit_bytes is not None:
            self._before, self._limit = resource.getrlimit(resource.RLIMIT_DATA), limit_bytes
            self._allow(limit_bytes + UNTOUCHED_ALLOWANCE)

    def leave_out(self, amount: int) -> None:
        """Do not count so many bytes that are held."""
        self._base += amount

    def tighten(self) -> None:
        if self._limit is not None:
            self._allow(self._limit - (self.held() or 0))

    def _allow(self, more_bytes: int | None) -> None:
        if self._before is not None and more_bytes is not None:
            requested = max(0, own_status("VmData") + more_bytes)
            limits = [requested, *(limit for limit in self._before if limit != resource.RLIM_INFINITY)]
            resource.setrlimit(resource.RLIMIT_DATA, (min(limits), self._before[1]))

    def end(self) -> None:
        if self._before is not None:
            resource.setrlimit(resource.RLIMIT_DATA, self._before)
            self._before = self._limit = None
        _set_mmap_threshold(TIMING_THRESHOLD)

    def loosen(self) -> None:
        # getting the pages of every tensor from the kernel costs a third of the speed; keeping them fragments memory
        self._allow(available_memory())
        _set_mmap_threshold(TIMING_THRESHOLD)

    def reset_peak(self) -> None:
        (PROC / "clear_refs").write_text("5")

    def peak(self) -> int | None:
        return max(0, own_status("VmHWM") - own_status("RssFile") - self._base)

    def held(self) -> int | None:
        return own_status("RssAnon") + own_status("RssShmem") - self._base

    def problem(self) -> str | None:
        return None


class CudaMemory:
    """The memory of one GPU, managed by torch's caching allocator.

    Peaks are what tensors take, but a size only fits if what the allocator reserves is within the limit too.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.index = device.index or 0
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

    def problem(self) -> str | None:
        reserved = torch.cuda.memory_reserved(self._device)  # never shrinks while a trial runs
        if self._limit is not None and reserved > self._limit:
            return f"The allocator reserved {_gibibytes(reserved)}, more than the limit of {_gibibytes(self._limit)}."
        if self._count_retries() > self._retries:
            return "It fit only after the allocator had emptied its cache."
        return None

    def _count_retries(self) -> int:
        return int(torch.cuda.memory_stats(self._device).get("num_alloc_retries", 0))


def _gibibytes(amount: int) -> str:
    return f"{amount / 2**30:.2f} GiB"


# until the first step ends: libraries reserve memory that they never touch, but RLIMIT_DATA counts it
UNTOUCHED_ALLOWANCE = 512 << 20
# thresholds of malloc: with glibc's dynamic one, the peak does not follow the batch size
MEASURING_THRESHOLD = 64 << 10
TIMING_THRESHOLD = 32 << 20  # the maximum of glibc's dynamic threshold, which any long training reaches
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # constants of mallopt


def _set_mmap_threshold(threshold: int) -> None:
    """Let malloc request larger blocks than this from the kernel and return them, and keep smaller ones."""
    with contextlib.suppress(Exception):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, threshold)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * threshold)
        libc.malloc_trim(0)
