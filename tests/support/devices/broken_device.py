"""A plug-in for workers under test: their device may fail.

    celery worker -I tests.support.devices.broken_device

While the file `FAULTS_RAISE_FILE` is there, each forward of the denoiser raises the error of torch that it names:
`memory` or `accelerator`; with `host`, an error that nobody knows, and with
`large` the same where an image is larger than 64 pixels.
"""

import functools
import os
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

_RAISE_FILE = Path(os.environ["FAULTS_RAISE_FILE"])
_SIDE = 8  # of the latents of an image of 64 pixels
_forward = UNet2DConditionModel.forward


def _side(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """The longer side of the latents of a call."""
    sample = kwargs["sample"] if "sample" in kwargs else args[1]
    return max(sample.shape[-2:])


@functools.wraps(_forward)
def _broken_forward(*args: Any, **kwargs: Any) -> Any:
    match _RAISE_FILE.read_text() if _RAISE_FILE.exists() else "":
        case "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        case "accelerator":
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700)
        case "host":
            raise RuntimeError("something is wrong with this host")
        case "large" if _side(args, kwargs) > _SIDE:
            raise RuntimeError("something is wrong with this size")
        case _:
            return _forward(*args, **kwargs)


UNet2DConditionModel.forward = _broken_forward
