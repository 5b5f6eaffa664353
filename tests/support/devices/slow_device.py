"""A plug-in for workers under test: their device is slow, and may hang.

    celery worker -I tests.support.devices.slow_device

Each forward of the denoiser takes `FAULTS_FORWARD_S` seconds longer; while the file `FAULTS_HANG_FILE` is there, a
forward never ends. Celery imports the module before it says `worker_init`, so before the model is loaded.
"""

import functools
import os
import threading
from pathlib import Path
from typing import Any

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

_PAUSE_S = float(os.environ.get("FAULTS_FORWARD_S", "0.02"))
_HANG_FILE = os.environ.get("FAULTS_HANG_FILE")
_forward = UNet2DConditionModel.forward


@functools.wraps(_forward)
def _slow_forward(*args: Any, **kwargs: Any) -> Any:
    if _HANG_FILE and Path(_HANG_FILE).exists():
        threading.Event().wait()
    threading.Event().wait(_PAUSE_S)
    return _forward(*args, **kwargs)


UNet2DConditionModel.forward = _slow_forward
