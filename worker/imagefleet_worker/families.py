"""Families: the few facts in which diffusers pipelines differ, found by inspection and corrected by a small table."""

import inspect
from dataclasses import dataclass, replace
from typing import Any

from imagefleet.jobs import GenerationJob
from imagefleet_worker.errors import ModelUnavailable

#: Denoiser inputs that are the same for all rows of a call: position ids of the image and of the text.
SHARED_INPUTS = frozenset({"img_ids", "txt_ids"})


@dataclass(frozen=True, slots=True)
class Family:
    """How to speak to one class of pipeline."""

    denoiser: str | None
    """Attribute of the module that each step calls; None where it is not known, then jobs cannot be joined."""
    guidance: str | None
    """Name of the argument that takes the guidance scale."""
    negative_guidance: str | None
    """Name of the argument that takes it for a job with a negative prompt, where that is another one."""
    has_negative_prompt: bool
    blank_negative: str | None
    """A negative prompt to send where the job has none, for pipelines that ignore their guidance without one."""
    has_step_callback: bool
    size_multiple: int
    """Width and height must be a multiple of this many pixels."""
    default_size: int
    """Pixels of each side, for jobs without a size."""
    default_steps: int
    default_guidance: float | None


# Flux takes a distilled guidance as `guidance_scale`; a negative prompt works only through `true_cfg_scale`, whose
# default of 1.0 would ignore it silently. Qwen-Image ignores `true_cfg_scale` without a negative prompt.
_CORRECTIONS: dict[str, dict[str, Any]] = {
    "FluxPipeline": {"negative_guidance": "true_cfg_scale"},
    "QwenImagePipeline": {"guidance": "true_cfg_scale", "blank_negative": " ", "default_guidance": 4.0},
}


def family_of(pipe: Any) -> Family:
    """The facts about *pipe*.

    Raises:
        ModelUnavailable: where it does not make images from text.
    """
    name = type(pipe).__name__
    parameters = inspect.signature(type(pipe).__call__).parameters
    if "prompt" not in parameters:
        raise ModelUnavailable(f"{name} takes no prompt: choose a text-to-image model as IMAGEFLEET_MODEL_SOURCE")
    guidance = "guidance_scale" if "guidance_scale" in parameters else None
    family = Family(
        denoiser=next((part for part in ("unet", "transformer") if getattr(pipe, part, None) is not None), None),
        guidance=guidance,
        negative_guidance=None,
        has_negative_prompt="negative_prompt" in parameters,
        blank_negative=None,
        has_step_callback="callback_on_step_end" in parameters,
        size_multiple=_size_multiple(pipe),
        default_size=_default_size(pipe),
        default_steps=_default(parameters, "num_inference_steps") or 30,
        default_guidance=_default(parameters, guidance) if guidance else None,
    )
    return replace(family, **_CORRECTIONS.get(name, {}))


def problems_of(job: GenerationJob, family: Family, *, name: str) -> list[str]:
    """What in *job* a pipeline of *family*, called *name*, cannot do, a sentence each."""
    problems: list[str] = []
    for side in ("width", "height"):
        value = getattr(job, side)
        if value is not None and value % family.size_multiple:
            problems.append(f"{side}: {value} is not a multiple of {family.size_multiple}, which {name} needs")
    if job.negative_prompt is not None and not family.has_negative_prompt:
        problems.append(f"negative_prompt: {name} has none; leave it out")
    if job.guidance_scale is not None and family.guidance is None:
        problems.append(f"guidance_scale: {name} has none; leave it out")
    return problems


def _default(parameters: Any, name: str) -> Any:
    parameter = parameters.get(name)
    return None if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def _latent_scale(pipe: Any) -> int:
    return int(getattr(pipe, "vae_scale_factor", 8))


def _size_multiple(pipe: Any) -> int:
    # Transformers see latents in patches of 2x2; some of their pipelines round other sizes down without a word.
    patch = 1 if getattr(pipe, "unet", None) is not None else 2
    return max(8, _latent_scale(pipe) * patch)


def _default_size(pipe: Any) -> int:
    latent = getattr(pipe, "default_sample_size", None)
    unet = getattr(pipe, "unet", None)
    if latent is None and unet is not None:
        latent = getattr(unet.config, "sample_size", None)
    multiple = _size_multiple(pipe)
    size = latent * _latent_scale(pipe) if isinstance(latent, int) else 1024
    return max(multiple, size // multiple * multiple)
