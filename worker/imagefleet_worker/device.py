"""The device: which one this process uses, in which number format, and how to tell a broken one from a full one."""

import gc
import platform

import torch

from imagefleet_worker.errors import ModelUnavailable
from imagefleet_worker.settings import Dtype

_DTYPES = {Dtype.FLOAT32: torch.float32, Dtype.BFLOAT16: torch.bfloat16, Dtype.FLOAT16: torch.float16}


def choose_device(name: str) -> torch.device:
    """The device called *name* (auto, cpu, mps or cuda); auto takes the fastest kind that is there.

    Raises:
        ModelUnavailable: where the named kind of device is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, is_there in there.items() if is_there))
    if not there[name]:
        raise ModelUnavailable(
            f"there is no {name} device here: set IMAGEFLEET_MODEL_DEVICE=auto, or repair the driver"
        )
    return torch.device(name)


def choose_dtype(dtype: Dtype, *, device: torch.device) -> torch.dtype:
    """The number format to serve in; auto is bfloat16 on CUDA, float32 elsewhere."""
    if dtype is Dtype.AUTO:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return _DTYPES[dtype]


def describe_device(device: torch.device) -> str:
    """The device's name as its maker wrote it, or its kind."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()})"


def free_memory() -> None:
    """Hand unused device memory back. Call it outside of `except`: a live traceback keeps tensors alive."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def synchronize(device: torch.device) -> None:
    """Wait until *device* has done what it was given; other devices than CUDA have by then."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device: torch.device) -> None:
    """Begin to watch for `memory_left`."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def memory_left(device: torch.device) -> bool:
    """Whether twice of what was needed at most since `forget_peak` leaves a fifth of the memory; CUDA, else true."""
    if device.type != "cuda":
        return True
    most, now = torch.cuda.max_memory_allocated(device), torch.cuda.memory_allocated(device)
    total = torch.cuda.mem_get_info(device)[1]
    return now + 2 * (most - now) < 0.8 * total


def is_out_of_memory(error: BaseException) -> bool:
    """Whether *error* says that the device is full; a smaller try may succeed."""
    return isinstance(error, torch.OutOfMemoryError)


def is_fault(error: BaseException) -> bool:
    """Whether *error* says that the device or its driver context is broken; only a new process helps."""
    accelerator_error = getattr(torch, "AcceleratorError", None)  # since torch 2.8; before, the text has to do
    if accelerator_error is not None and isinstance(error, accelerator_error):
        return True
    return isinstance(error, RuntimeError) and not is_out_of_memory(error) and str(error).startswith("CUDA error:")


def memory_bytes(device: torch.device) -> dict[str, float]:
    """By torch's own books, for a device that hangs would not answer: allocated, reserved, peak, total; CUDA only."""
    if device.type != "cuda":
        return {}
    return {
        "allocated": torch.cuda.memory_allocated(device),
        "reserved": torch.cuda.memory_reserved(device),
        "peak": torch.cuda.max_memory_allocated(device),
        "total": torch.cuda.get_device_properties(device).total_memory,
    }
