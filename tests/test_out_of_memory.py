"""Out of memory in all the words that libraries have for it, and nothing else."""

from __future__ import annotations

import errno

import pytest
import torch

from lrscout.engine.out_of_memory import is_out_of_memory

ALWAYS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("XPU out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("Native API failed. Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.02 GB, other allocations: 1.10 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers"),
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
UNDER_A_LIMIT = [
    RuntimeError("could not create a primitive"),
    ImportError("libx.so: failed to map segment from shared object"),
    RuntimeError("can't start new thread"),
]
NEVER = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x3 and 4x3)"),
    ValueError("CUDA out of memory"),  # quoted by the user's own code
    RuntimeError("DataLoader worker (pid 7) exited unexpectedly"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    OSError(errno.ENOENT, "No such file"),
]


@pytest.mark.parametrize("error", ALWAYS, ids=str)
def test_out_of_memory_is_recognised(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", UNDER_A_LIMIT, ids=str)
def test_some_words_mean_it_only_under_a_limit(error):
    assert is_out_of_memory(error, limited=True)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", NEVER, ids=str)
def test_other_errors_are_the_users(error):
    assert not is_out_of_memory(error, limited=True)


@pytest.mark.parametrize("explicit", [True, False])
def test_it_is_found_behind_the_exception_that_came_of_it(explicit):
    def fail():
        try:
            raise MemoryError
        except MemoryError as error:
            raise ValueError("the step failed") from (error if explicit else None)

    with pytest.raises(ValueError) as caught:
        fail()
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(ExceptionGroup("workers", [ValueError(), MemoryError()]))


def test_a_circle_of_causes_ends():
    error, other = ValueError(), KeyError()
    error.__cause__, other.__cause__ = other, error
    assert not is_out_of_memory(error)


def test_what_torch_really_raises_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
