"""The step callback: what the pipeline calls after each step. It notes numbers and looks at flags; it never waits."""

from collections.abc import Callable
from typing import Any

import torch

from imagefleet_worker.batching.finite import all_finite
from imagefleet_worker.diffusion.preview_throttle import PreviewThrottle

OnStep = Callable[[int, int], None]


class StepCallback:
    """Reports each step to *on_step*, and the last one to *on_last_step*; previews are left to *previews*."""

    def __init__(self, on_step: OnStep, on_last_step: Callable[[], None], previews: PreviewThrottle | None) -> None:
        #: What *on_step* raised, to be told from the pipeline's own errors.
        self.stopped_by: BaseException | None = None
        #: Whether the latents of the last step are numbers: a 0-dim tensor on the device.
        self.finite: list[torch.Tensor] = []
        self._on_step = on_step
        self._on_last_step = on_last_step
        self._previews = previews

    def __call__(self, pipe: Any, step: int, timestep: object, tensors: dict[str, Any]) -> dict[str, Any]:
        """Report the step."""
        del timestep
        done, total = step + 1, int(pipe.num_timesteps)
        try:
            self._on_step(done, total)
        except BaseException as error:
            self.stopped_by = error
            raise
        if self._previews and done < total:
            self._previews.after_step(done, tensors["latents"])
        if done >= total:
            self._on_last_step()
            self.finite = [all_finite(tensors["latents"])]
        return {}
