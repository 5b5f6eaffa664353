"""The device: which one this process uses, in which number format, and its memory."""

import gc
import platform
from collections.abc import Callable, Sequence

import torch

from imagefleet.errors import reason_of
from imagefleet_worker.errors import ModelUnavailable
from imagefleet_worker.hardware.discovery import devices_asked_for
from imagefleet_worker.settings import Dtype

_DTYPES = {Dtype.FLOAT32: torch.float32, Dtype.BFLOAT16: torch.bfloat16, Dtype.FLOAT16: torch.float16}


def choose_device(name: str, *, asked_for: Sequence[str] | None = None) -> torch.device:
    """The device called *name* (auto, cpu, mps or cuda); auto takes the fastest kind that is there.

    *asked_for* are the devices that the process was given, by default those of CUDA_VISIBLE_DEVICES: where one of them
    is not there, nothing takes its place.

    Raises:
        ModelUnavailable: where the named kind of device, or one that was asked for, is not there.
    """
    asked_for = devices_asked_for() if asked_for is None else asked_for
    if name == "cuda" or (name == "auto" and asked_for):
        _check_cuda(asked_for)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, is_there in there.items() if is_there))
    if not there[name]:
        raise ModelUnavailable(f"there is no {name} device here: set IMAGEFLEET_MODEL_DEVICE=auto")
    return torch.device(name)


def _check_cuda(asked_for: Sequence[str]) -> None:
    """Raise ModelUnavailable, with the driver's own words, if fewer devices are there than were asked for."""
    wanted = f"device {', '.join(asked_for)}" if asked_for else "a CUDA device"
    try:
        torch.cuda.init()
        count = torch.cuda.device_count()
    except (RuntimeError, AssertionError) as error:
        raise ModelUnavailable(
            f"{wanted} was asked for and is not there: {reason_of(error)}; repair the driver, or ask for none: "
            "CUDA_VISIBLE_DEVICES= and IMAGEFLEET_MODEL_DEVICE=auto serve on the CPU"
        ) from error
    if count < max(len(asked_for), 1):
        raise ModelUnavailable(
            f"{wanted} was asked for, and the driver shows {count} of {max(len(asked_for), 1)}: correct "
            "CUDA_VISIBLE_DEVICES or --devices"
        )


def choose_dtype(dtype: Dtype, *, device: torch.device) -> torch.dtype:
    """The number format to serve in; auto is bfloat16 on CUDA, float32 elsewhere."""
    if dtype is Dtype.AUTO:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return _DTYPES[dtype]


def use_whole_float32() -> None:
    """Let cuDNN's convolutions compute float32 in all of its bits; torch lets them use TF32, which has 10 of the 23."""
    torch.backends.cudnn.allow_tf32 = False


def describe_device(device: torch.device) -> str:
    """The device's name as its maker wrote it, or its kind."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()})"


def use_in_thread(device: torch.device) -> Callable[[], None]:
    """What another thread must call first to compute on *device*: each thread has a current CUDA device of its own."""
    if device.type != "cuda":
        return lambda: None
    index: int | None = getattr(device, "index", None)  # none is named by "cuda"
    here = torch.cuda.current_device() if index is None else index
    return lambda: torch.cuda.set_device(here)


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
