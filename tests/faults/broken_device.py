"""A plug-in for workers under test (`celery worker -I tests.faults.broken_device`): their device may fail.

While the file `FAULTS_RAISE_FILE` is there, each forward of the denoiser raises the error of torch that it names:
`memory` or `accelerator`.
"""

import functools
import os
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

_RAISE_FILE = Path(os.environ["FAULTS_RAISE_FILE"])
_forward = UNet2DConditionModel.forward


@functools.wraps(_forward)
def _broken_forward(*args: Any, **kwargs: Any) -> Any:
    match _RAISE_FILE.read_text() if _RAISE_FILE.exists() else "":
        case "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        case "accelerator":
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700)
        case _:
            return _forward(*args, **kwargs)


UNet2DConditionModel.forward = _broken_forward
