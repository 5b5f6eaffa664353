"""The first images of a model, which find out how its pipeline is to be asked."""

from typing import TYPE_CHECKING, Any

import structlog
import torch

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.joining_proof import Pixels, compare, pixels_of
from imagefleet_worker.diffusion.trial_runs import Trial, make_images, make_recorded, of_denoiser
from imagefleet_worker.errors import ModelUnavailable

if TYPE_CHECKING:
    from imagefleet_worker.diffusion.engine import Engine

log = structlog.get_logger(__name__)

_SIDE = 256
#: A CPU takes seconds for what a GPU does in milliseconds.
_CPU_SIDE = 64


class FirstImages:
    """Makes images with *engine*, and sets in it what they show."""

    def __init__(self, engine: "Engine") -> None:
        multiple = engine.traits.size_multiple
        side = _CPU_SIDE if engine.device.type == "cpu" else _SIDE
        #: Pixels of each side of a small image that the pipeline can make.
        self.side = max(multiple, min(engine.traits.default_size, side) // multiple * multiple)
        self._engine = engine
        self._first: Pixels | None = None

    def make(self) -> None:
        """Make them. Raises ModelUnavailable if no image can be made."""
        try:
            first = self._first_image()
        except ModelUnavailable as problem:
            if self.side == self._engine.traits.default_size:
                raise
            log.info("the warm-up makes images of the pipeline's own size", reason=problem.message)
            self.side = self._engine.traits.default_size
            first = self._first_image()
        denoiser_calls = of_denoiser(first.calls)
        if denoiser_calls:
            self._engine.rows_per_image = denoiser_calls[0].rows
        self._note_scheduler(first)
        self._first = pixels_of(first.images)
        self._prove_tensor_output(self._first)

    def has_guidance(self) -> bool | None:
        """Whether another guidance scale makes another image than the first one; None if the pipeline takes none."""
        engine = self._engine
        default = engine.check(self._job()).guidance_scale
        if engine.traits.guidance is None:
            return None
        other = self._job(guidance_scale=(default or 1.0) + 3.0)
        return bool((pixels_of(make_images(engine, other)) != self._first).any())

    def why_image_by_image(self) -> str:
        """What is wrong with two images of one call of the pipeline; empty if nothing is."""
        engine = self._engine
        job = self._job(num_images=2, seed=1, negative_prompt="dim" if engine.traits.has_negative_prompt else None)
        try:
            together = make_images(engine, job)
        except ModelUnavailable as problem:
            return problem.message
        each = [job.model_copy(update={"num_images": 1, "seed": seed}) for seed in (1, 2)]
        alone = [image for one in each for image in make_images(engine, one)]
        is_float32 = engine.pipe.dtype == torch.float32
        return compare([pixels_of(alone)], [pixels_of(together)], is_exact=False, is_float32=is_float32).reason

    def _job(self, **more: Any) -> GenerationJob:
        return GenerationJob(prompt="warm up", width=self.side, height=self.side, steps=2, **more)

    def _first_image(self) -> Trial:
        """Make the first image; on a GPU with the schedulers' tables in the host's memory, if that works."""
        schedulers = self._engine.renderer.schedulers
        job = self._job(scheduler=type(self._engine.pipe.scheduler).__name__)
        if self._engine.device.type == "cuda":
            schedulers.keeps_tables_on_host = True
            try:
                return make_recorded(self._engine, job)
            except ModelUnavailable as problem:
                schedulers.keeps_tables_on_host = False
                log.info("schedulers keep their tables on the device", reason=problem.message)
        return make_recorded(self._engine, job)

    def _prove_tensor_output(self, as_pictures: Pixels) -> None:
        """Take the images from the device as tensors, if that gives the same images as PIL does."""
        renderer = self._engine.renderer
        renderer.output_type = "pt"
        try:
            is_same = abs(pixels_of(make_images(self._engine, self._job())) - as_pictures).max() <= 1
        except ModelUnavailable:
            is_same = False
        if not is_same:
            renderer.output_type = "pil"
            log.info("images are taken from the pipeline as PIL makes them", reason="its tensors are others")

    def _note_scheduler(self, first: Trial) -> None:
        """Find pipelines that do not use the scheduler that each job gets: jobs would share the one that they use."""
        if any(warning.field == "scheduler" for warning in first.warnings):
            self._engine.renderer.schedulers.are_ignored = True
            self._engine.shared.most_jobs = 1
            self._engine.shared.why_alone = "the pipeline has a scheduler of its own"
