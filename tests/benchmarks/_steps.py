"""A plug-in for a measured worker (`celery worker -I tests.benchmarks._steps`): notes when each denoising step begins.

Each forward of the denoiser adds a line with the time to the file `STEPS_FILE` and takes `STEPS_PAUSE_S` longer.
"""

import functools
import os
import threading
import time
from pathlib import Path
from typing import Any

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

_FILE = Path(os.environ["STEPS_FILE"]).open("a", buffering=1)  # noqa: SIM115  # as long as the process
_PAUSE_S = float(os.environ["STEPS_PAUSE_S"])
_forward = UNet2DConditionModel.forward


@functools.wraps(_forward)
def _noted_forward(*args: Any, **kwargs: Any) -> Any:
    _FILE.write(f"{time.time():.6f}\n")
    threading.Event().wait(_PAUSE_S)
    return _forward(*args, **kwargs)


UNet2DConditionModel.forward = _noted_forward
