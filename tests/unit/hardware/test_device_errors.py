"""What an error says of the device; the texts are those of torch, cuDNN, cuBLAS, Triton, HIP, NVML and Metal."""

import pytest
import torch

from imagefleet_worker.hardware.device_errors import is_fault, is_out_of_memory

FAULTS = [
    RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, opa, opb)`"),
    RuntimeError("CUDA driver error: invalid argument"),
    RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    RuntimeError("cuFFT error: CUFFT_INTERNAL_ERROR"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate(handle)`"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/c10/cuda/CUDACachingAllocator.cpp":1131'),
    RuntimeError("No CUDA GPUs are available"),
    RuntimeError("No HIP GPUs are available"),
    RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"),
    RuntimeError("HIP error: unspecified launch failure"),
    RuntimeError("HIP error: hipErrorNoBinaryForGpu"),
    RuntimeError("MIOpen error: miopenStatusInternalError"),
    RuntimeError("command buffer exited with error status: kIOGPUCommandBufferCallbackErrorHang"),
    torch.AcceleratorError("CUDA error: device-side assert triggered", 710),
]
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory", 2),
    MemoryError(),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to"),
]
NEITHER = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (77x768 and 1024x320)"),
    RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
    RuntimeError("a prompt that says CUDA error: is no device"),
    ValueError("CUDA error: said by a pipeline"),
    # A grid that is too large: the batch is, and nothing is broken.
    torch.AcceleratorError("CUDA error: invalid configuration argument"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous"),
    KeyError("cuDNN error: said by a pipeline"),
]


@pytest.mark.parametrize("error", FAULTS, ids=str)
def test_a_broken_device_is_a_fault(error: Exception) -> None:
    """Its process ends, and its jobs go elsewhere."""
    assert (is_fault(error), is_out_of_memory(error)) == (True, False)


@pytest.mark.parametrize("error", FULL, ids=repr)
def test_a_full_device_is_no_fault(error: Exception) -> None:
    """A smaller batch may fit."""
    assert (is_fault(error), is_out_of_memory(error)) == (False, True)


@pytest.mark.parametrize("error", NEITHER, ids=str)
def test_errors_of_a_job_are_neither(error: Exception) -> None:
    """They fail that job alone."""
    assert (is_fault(error), is_out_of_memory(error)) == (False, False)


def test_what_a_compiler_wraps_is_heard() -> None:
    """Inductor raises errors of its own from those of the device."""
    wrapped = RuntimeError("backend='inductor' raised:")
    wrapped.__cause__ = RuntimeError("Triton Error [CUDA]: unspecified launch failure")

    assert is_fault(wrapped)
