"""The renderer: one job through an unmodified pipeline, on a copy of its own, with every failure told apart."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from imagefleet.contract.jobs import GenerationJob
from imagefleet.errors import described
from imagefleet_worker.batching.run import DeviceRun
from imagefleet_worker.diffusion.images import PendingImages, SeenOfRun
from imagefleet_worker.diffusion.pipeline_traits import PipelineTraits
from imagefleet_worker.diffusion.preview_throttle import OnPreview, PreviewThrottle
from imagefleet_worker.diffusion.previews import Previewer
from imagefleet_worker.diffusion.private_copy import PrivateCopies
from imagefleet_worker.diffusion.schedulers import Schedulers, UseOfScheduler
from imagefleet_worker.diffusion.step_callback import OnStep, StepCallback
from imagefleet_worker.errors import DeviceFault, GenerationFailed, OutOfMemory, WorkerError
from imagefleet_worker.hardware.device_errors import is_fault, is_out_of_memory


class Renderer:
    """Runs jobs on *pipe*; only one thread may use it, the device loop's."""

    def __init__(self, pipe: Any, traits: PipelineTraits) -> None:
        self.schedulers = Schedulers(pipe)
        #: How the pipeline hands its images out: `pt` leaves them on the device.
        self.output_type: Literal["pil", "pt"] = "pil"
        #: Whether the pipeline's own safety checker looks at the images, if it has one.
        self.is_checked = True
        self._copies = PrivateCopies(pipe, guiders=traits.guiders)
        self._traits = traits
        #: Makes small pictures for jobs that ask for them; none without it.
        self.previewer: Previewer | None = None

    def render(
        self,
        job: GenerationJob,
        *,
        seeds: Sequence[int],
        run: DeviceRun | None = None,
        on_step: OnStep,
        on_last_step: Callable[[], None],
        on_preview: OnPreview = None,
    ) -> PendingImages:
        """One image of *job*, whose size, steps and guidance are set, for each of *seeds*.

        *on_step* is called with the steps done and the steps in all; what it raises passes through unchanged.
        *on_last_step* is called when the denoising is done, *on_preview* now and then if the job asks for it. Other
        errors are `WorkerError`s without a traceback that would hold tensors.
        """
        previews = None
        if self.previewer and on_preview:
            previews = PreviewThrottle(job, previewer=self.previewer, on_preview=on_preview)
        steps = StepCallback(on_step, on_last_step, previews)
        scheduler = None
        try:
            scheduler = self.schedulers.fresh(job)
            use = UseOfScheduler(scheduler)
            arguments = self._arguments(job, seeds=seeds, steps=steps)
            private = self._private_copy(scheduler)
            output = self._call(private, arguments)
            seen = SeenOfRun(
                texts=run.notes if run else [],
                flagged=_flags(output),
                is_unguided=getattr(private, "do_classifier_free_guidance", None) is False,
                scheduler=use,
            )
            decoded = run.decoded_flags() if run else []
            return PendingImages(
                output.images,
                finite=[*steps.finite, *decoded],
                is_decoder_seen=bool(decoded),
                seen=seen,
                explain=lambda error: _explain(error, job),
            )
        except Exception as error:
            if error is steps.stopped_by or isinstance(error, WorkerError):
                raise
            problem = _explain(error, job)
        finally:
            if scheduler is not None:
                vars(scheduler).pop("set_timesteps", None)  # it leads back to the scheduler: a circle holds the tensors
        raise problem  # out here, where the handler has ended

    def _private_copy(self, scheduler: Any) -> Any:
        private = self._copies.make(scheduler)
        if not self.is_checked and getattr(private, "safety_checker", None) is not None:
            private.safety_checker = None
        return private

    def _call(self, pipe: Any, arguments: dict[str, Any]) -> Any:
        try:
            output = pipe(**arguments)
        except BaseException:
            pipe.maybe_free_model_hooks()  # what a pipeline does at its end: caches forget the job, weights go back
            raise
        if getattr(output, "images", None) is None:
            raise GenerationFailed(f"{type(pipe).__name__} gives no images: choose a text-to-image model")
        return output

    def _arguments(self, job: GenerationJob, *, seeds: Sequence[int], steps: StepCallback) -> dict[str, Any]:
        """The pipeline's arguments. Lists are new ones: some pipelines write into them.

        Each image has its prompt and its generator in the lists: `num_images_per_prompt` mixes up the prompts' masks
        in some pipelines, and one generator for all would give images that cannot be made again alone.
        """
        traits, count = self._traits, len(seeds)
        arguments: dict[str, Any] = {
            "prompt": [job.prompt] * count,
            "height": job.height,
            "width": job.width,
            "num_inference_steps": job.steps,
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            "output_type": self.output_type,
            **traits.fixed_arguments,
        }
        if traits.takes_area:
            arguments["max_area"] = (job.width or 0) * (job.height or 0)
        negative = job.negative_prompt if job.negative_prompt is not None else traits.blank_negative
        if negative is not None:
            arguments["negative_prompt"] = [negative] * count
        guidance = traits.negative_guidance if job.negative_prompt is not None else None
        if (name := guidance or traits.guidance) and job.guidance_scale is not None:
            arguments[name] = job.guidance_scale
        if traits.has_step_callback:
            arguments["callback_on_step_end"] = steps
            arguments["callback_on_step_end_tensor_inputs"] = ["latents"]
        return arguments


def _flags(output: Any) -> list[bool]:
    """For each image, whether the pipeline's own safety checker has flagged it; empty without one."""
    for name in ("nsfw_content_detected", "nsfw_detected"):  # diffusers has two names for it
        flags = getattr(output, name, None)
        if flags is not None:
            return [bool(flag) for flag in flags]
    return []


def _explain(error: Exception, job: GenerationJob) -> WorkerError:
    """What *error* means for *job* and for this process."""
    if is_out_of_memory(error):
        size = f"{job.num_images} x {job.width}x{job.height}"
        return OutOfMemory(f"{size} pixels do not fit the device's memory: ask for less, or use a larger device")
    if is_fault(error):
        return DeviceFault(
            f"the device failed and needs a new process: {described(error)}; look at the device if it happens again"
        )
    return GenerationFailed(f"the pipeline raised {described(error)}; change the job, or look into the worker's log")
