"""Bare pipelines: what diffusers itself makes of a job, for a comparison with the engine."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from imagefleet.contract.jobs import GenerationJob
from tests.support.models.engines import Pixels
from tests.support.models.tiny_pipelines import build

#: What a call needs besides what each job says.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "flux-kontext": {"max_area": 64 * 64},
    "ideogram4": {"guidance_schedule": None},
    "qwen-image": {"negative_prompt": " "},  # without one it would ignore its guidance
}
_GUIDANCE = {
    "cascade": "prior_guidance_scale",
    "hunyuan-image": None,
    "qwen-image": "true_cfg_scale",
    "wuerstchen": "prior_guidance_scale",
}
#: Where a negative prompt needs another guidance than other jobs have.
_NEGATIVE_GUIDANCE = {"flux": "true_cfg_scale", "flux-kontext": "true_cfg_scale"}
_SIZES = {"cascade": (128, 128), "wuerstchen": (128, 128), "hunyuan": (768, 1024), "hunyuan-pag": (768, 1024)}


class BarePipeline:
    """The tiny pipeline of *family*, built into *folder*."""

    def __init__(self, family: str, folder: Path) -> None:
        self.family = family
        self.source = build(family, folder)
        self.pipe: Any = DiffusionPipeline.from_pretrained(self.source, use_safetensors=True, local_files_only=True)
        for pipe in (self.pipe, getattr(self.pipe, "prior_pipe", None), getattr(self.pipe, "decoder_pipe", None)):
            if pipe is not None:
                pipe.set_progress_bar_config(disable=True)
        self._parameters = inspect.signature(type(self.pipe).__call__).parameters

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of small images that it makes."""
        return _SIZES.get(self.family, (64, 64))

    def jobs(self) -> list[GenerationJob]:
        """Three jobs that differ in all that a job of this pipeline can say. Their texts are of one length."""
        width, height = self.size
        first = GenerationJob(prompt="a red fox", width=width, height=height, steps=2, seed=1)
        if _GUIDANCE.get(self.family, "guidance_scale"):
            first = first.model_copy(update={"guidance_scale": 4.0})
        second = first.model_copy(update={"prompt": "two boats", "steps": 3, "seed": 2})
        if "negative_prompt" in self._parameters:
            second = second.model_copy(update={"negative_prompt": "old tiles"})
        return [first, second, first.model_copy(update={"prompt": "old trams", "seed": 3, "num_images": 2})]

    def make(self, job: GenerationJob) -> Pixels:
        """The images of *job*, each made by a call of its own."""
        made = [self.pipe(**self._arguments(job, seed=(job.seed or 0) + i)).images for i in range(job.num_images)]
        return np.stack([np.asarray(image) for images in made for image in images]).astype(np.int16)

    def _arguments(self, job: GenerationJob, *, seed: int) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "prompt": job.prompt,
            "width": job.width,
            "height": job.height,
            "num_inference_steps": job.steps,
            "generator": torch.Generator("cpu").manual_seed(seed),
            **_ARGUMENTS.get(self.family, {}),
        }
        guidance = _GUIDANCE.get(self.family, "guidance_scale")
        if job.negative_prompt is not None:
            arguments["negative_prompt"] = job.negative_prompt
            guidance = _NEGATIVE_GUIDANCE.get(self.family, guidance)
        if guidance:
            arguments[guidance] = job.guidance_scale
        return arguments
