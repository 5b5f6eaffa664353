"""Rendering: one job through the pipeline, on a copy of its own, with every failure told apart."""

import copy
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image

from imagefleet.jobs import GenerationJob
from imagefleet_worker.device import is_fault, is_out_of_memory
from imagefleet_worker.errors import (
    DeviceFault,
    GenerationFailed,
    ImageNotFinite,
    OutOfMemory,
    WorkerError,
)
from imagefleet_worker.families import Family
from imagefleet_worker.inference import Mode
from imagefleet_worker.previews import Previewer
from imagefleet_worker.schedulers import Schedulers
from imagefleet_worker.sketches import OnPreview, Sketches

OnStep = Callable[[int, int], None]
_PROMPT_ENCODERS = ("encode_prompt", "_encode_prompt")


class Renderer:
    """Runs jobs on *pipe*, each within *mode*, from any number of threads."""

    def __init__(self, pipe: Any, family: Family, *, mode: Mode = torch.no_grad) -> None:
        self.schedulers = Schedulers(pipe)
        self._pipe = pipe
        self._mode = mode
        self._family = family
        #: Makes small pictures for jobs that ask for them; none without it.
        self.previewer: Previewer | None = None
        self._encoding = threading.Lock()

    def render(
        self,
        job: GenerationJob,
        *,
        seeds: Sequence[int],
        on_step: OnStep,
        on_last_step: Callable[[], None],
        on_preview: OnPreview = None,
    ) -> list[Image.Image]:
        """One image of *job*, whose size, steps and guidance are set, for each of *seeds*.

        *on_step* is called with the steps done and the steps in all; what it raises passes through unchanged.
        *on_last_step* is called when the denoising is done, *on_preview* now and then where the job asks for it. Other
        errors are `WorkerError`s without a traceback that would hold tensors.
        """
        previewer = self.previewer
        sketches = Sketches(job, previewer=previewer, on_preview=on_preview) if previewer and on_preview else None
        steps = Steps(on_step, on_last_step, sketches)
        try:
            pipe = self._private_copy(job)
            return self._call(pipe, self._arguments(job, seeds=seeds, steps=steps))
        except Exception as error:
            if error is steps.stopped_by or isinstance(error, WorkerError):
                raise
            problem = _explain(error, job)
        raise problem  # out here, where the handler has ended

    def _call(self, pipe: Any, arguments: dict[str, Any]) -> list[Image.Image]:
        try:
            with self._mode():
                return list(pipe(**arguments).images)
        except BaseException:
            pipe.maybe_free_model_hooks()  # what a pipeline does at its end: caches forget the job, weights go back
            raise

    def _private_copy(self, job: GenerationJob) -> Any:
        pipe = copy.copy(self._pipe)
        pipe.scheduler = self.schedulers.fresh(job.scheduler)
        for name in _PROMPT_ENCODERS:  # fast tokenizers keep padding and truncation as shared state
            if encode := getattr(pipe, name, None):
                setattr(pipe, name, self._locked(encode))
                break
        return pipe

    def _locked(self, encode: Callable[..., Any]) -> Callable[..., Any]:
        def encode_alone(*args: Any, **kwargs: Any) -> Any:
            with self._encoding:
                return encode(*args, **kwargs)

        return encode_alone

    def _arguments(self, job: GenerationJob, *, seeds: Sequence[int], steps: "Steps") -> dict[str, Any]:
        """The pipeline's arguments. Lists are new ones: some pipelines write into them.

        Each image has its prompt and its generator in the lists: `num_images_per_prompt` mixes up the prompts' masks
        in some pipelines, and one generator for all would give images that cannot be made again alone.
        """
        family, count = self._family, len(seeds)
        arguments: dict[str, Any] = {
            "prompt": [job.prompt] * count,
            "height": job.height,
            "width": job.width,
            "num_inference_steps": job.steps,
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            "output_type": "pil",
        }
        negative = job.negative_prompt if job.negative_prompt is not None else family.blank_negative
        if negative is not None:
            arguments["negative_prompt"] = [negative] * count
        guidance = family.negative_guidance if job.negative_prompt is not None else None
        if (name := guidance or family.guidance) and job.guidance_scale is not None:
            arguments[name] = job.guidance_scale
        if family.has_step_callback:
            arguments["callback_on_step_end"] = steps
            arguments["callback_on_step_end_tensor_inputs"] = ["latents"]
        return arguments


class Steps:
    """The pipeline's callback after each step."""

    def __init__(self, on_step: OnStep, on_last_step: Callable[[], None], sketches: Sketches | None) -> None:
        self.stopped_by: BaseException | None = None
        self._on_step = on_step
        self._on_last_step = on_last_step
        self._sketches = sketches

    def __call__(self, pipe: Any, step: int, timestep: object, tensors: dict[str, Any]) -> dict[str, Any]:
        """Report the step; after the last one, make sure that there is an image to decode."""
        del timestep
        done, total = step + 1, int(pipe.num_timesteps)
        try:
            self._on_step(done, total)
        except BaseException as error:
            self.stopped_by = error
            raise
        if self._sketches and done < total:
            self._sketches.after_step(done, tensors["latents"])
        if done >= total:
            self._on_last_step()
            if not bool(torch.isfinite(tensors["latents"]).all()):
                raise ImageNotFinite(
                    "the model made values that are not numbers; the image would be black. "
                    "Serve the model in the number format that it was made for (IMAGEFLEET_MODEL_DTYPE)"
                )
        return {}


def _explain(error: Exception, job: GenerationJob) -> WorkerError:
    """What *error* means for *job* and for this process."""
    if is_out_of_memory(error):
        size = f"{job.num_images} x {job.width}x{job.height}"
        return OutOfMemory(f"{size} pixels do not fit the device's memory: ask for less, or use a larger device")
    if is_fault(error):
        return DeviceFault(f"the device failed and needs a new process: {type(error).__name__}: {error}")
    return GenerationFailed(f"the pipeline raised {type(error).__name__}: {error}")


def can_share(pipe: Any, family: Family) -> bool:
    """Whether several jobs may run on *pipe* at once: its prompt encoder can be locked, its denoiser is known."""
    return family.denoiser is not None and any(hasattr(pipe, name) for name in _PROMPT_ENCODERS)
