"""The preview throttle: when a job gets a preview, so that previews stay cheap whatever the job asks for."""

import time
from collections.abc import Callable

import structlog
import torch

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.previews import CannotPreview, Preview, Previewer
from imagefleet_worker.hardware.device_errors import is_fault

log = structlog.get_logger(__name__)

#: Gets each preview; None for nobody.
OnPreview = Callable[[Preview], None] | None


class PreviewThrottle:
    """The previews of one run of *job*: after each `preview_every` steps, and not more often than *previewer* says."""

    def __init__(self, job: GenerationJob, *, previewer: Previewer, on_preview: Callable[[Preview], None]) -> None:
        self._every = job.preview_every
        self._size = {"width": job.width or 0, "height": job.height or 0}
        self._previewer = previewer
        self._on_preview = on_preview
        self._next_at = 0.0
        self._is_disabled = False

    def after_step(self, done: int, latents: torch.Tensor) -> None:
        """Begin a preview of *latents* if it is time for one."""
        now = time.monotonic()
        if self._every is None or done % self._every or now < self._next_at or self._is_disabled:
            return
        self._next_at = now + self._previewer.interval_s
        try:
            self._on_preview(self._previewer.begin(latents, **self._size))
        except CannotPreview as problem:
            self._is_disabled = True
            log.warning(str(problem))
        except Exception as error:  # no preview is worth a job
            if is_fault(error):
                raise
            self._is_disabled = True
            log.exception("no preview")
