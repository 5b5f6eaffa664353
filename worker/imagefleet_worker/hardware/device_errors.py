"""What an error says of the device: that it is full, that it is broken, or nothing.

Torch raises a `RuntimeError` for most of it, so that the text has to do. Texts of memory come first: a library whose
handle does not fit says so in the words of its other errors.
"""

import re
from collections.abc import Iterator
from typing import Final

import torch

#: The device or the host has no memory for this; a smaller try may succeed.
_MEMORY: Final = re.compile(
    r"""
    \bout\ of\ memory\b                              # CUDA, HIP, MPS, XPU; the driver and Triton, too
    | \b(?:CUBLAS|CUDNN|CUSOLVER|CUSPARSE|CUFFT)_(?:STATUS_)?ALLOC_FAILED\b
    | \b(?:cuda|hip)ErrorMemoryAllocation\b
    | \bCUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED\b
    | \bCUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED\b
    | DefaultCPUAllocator:\ (?:can't\ allocate\ memory|not\ enough\ memory)
    """,
    re.VERBOSE,
)
#: The device cannot do this; a smaller try may succeed, and nothing is broken.
_REFUSED: Final = re.compile(r"invalid configuration argument|\bCUDNN_STATUS_(?:NOT_SUPPORTED|BAD_PARAM)\b")
#: The device, its driver or the context of this process is broken; only a new process helps, if anything does.
_FAULT: Final = re.compile(
    r"""
    ^(?:CUDA|HIP|XPU)\ (?:driver\ |runtime\ )?error\b
    | ^CUDA\ unknown\ error\b
    | ^Triton\ Error\ \[(?:CUDA|HIP)\]
    | ^(?:cuDNN|MIOpen|cuBLAS|cuFFT|cusolver|cusparse|NVRTC|nvrtc)\ error\b
    | ^(?:miopen|rocblas|hipblas)\w*\ error\b
    | \b(?:CUBLAS|CUSOLVER|CUSPARSE|CUFFT)_STATUS_(?:EXECUTION_FAILED|INTERNAL_ERROR|NOT_INITIALIZED|MAPPING_ERROR)\b
    | \bNVML_SUCCESS\b | \bnvml\w*\ failed\b | ^NVML\b
    | No\ (?:CUDA|HIP)\ GPUs\ are\ available
    | Found\ no\ NVIDIA\ driver\ on\ your\ system
    | \bhipError[A-Z]\w+
    | \b(?:GPU|device)\ (?:is\ lost|has\ fallen\ off\ the\ bus)\b
    | \bkIOGPUCommandBuffer\w*Error\w*               # Metal
    """,
    re.VERBOSE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether *error* says that the device is full; a smaller try may succeed."""
    return any(isinstance(each, torch.OutOfMemoryError | MemoryError) or _says(each, _MEMORY) for each in _chain(error))


def is_fault(error: BaseException) -> bool:
    """Whether *error* says that the device or its driver context is broken; only a new process helps."""
    if is_out_of_memory(error) or any(_says(each, _REFUSED) for each in _chain(error)):
        return False
    return any(isinstance(each, torch.AcceleratorError) or _says(each, _FAULT) for each in _chain(error))


def _says(error: BaseException, words: re.Pattern[str]) -> bool:
    """Whether *error* is one of torch, Triton or a driver, and says *words*."""
    return isinstance(error, RuntimeError | AssertionError) and bool(words.search(str(error)))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """*error* and what it was raised from: compilers wrap what the device says."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__
