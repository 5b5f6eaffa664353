"""Pipeline traits: the few facts in which pipelines differ, found by inspection and corrected by a small table."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.errors import ModelUnavailable
from imagefleet_worker.settings import ModelSettings

_CHOOSE_ANOTHER = "choose a text-to-image model as IMAGEFLEET_MODEL_SOURCE"
_TRUE_CFG = "true_cfg_scale"
#: Pipelines that fail without an image, though their signature lets one leave it out.
_EDITORS = frozenset({"QwenImageEditPipeline", "QwenImageEditPlusPipeline", "QwenImageLayeredPipeline"})


@dataclass(frozen=True, slots=True)
class PipelineTraits:
    """How to speak to one class of pipeline."""

    denoiser: str | None
    """Attribute of the module that each step calls; None if it is not known, then jobs cannot be joined."""
    guidance: str | None
    """Name of the argument that takes the guidance scale."""
    negative_guidance: str | None
    """Name of the argument that takes it for a job with a negative prompt, if that is another one."""
    has_negative_prompt: bool
    blank_negative: str | None
    """A negative prompt to send if the job has none, for pipelines that ignore their guidance without one."""
    has_step_callback: bool
    size_multiple: int
    """Width and height must be a multiple of this many pixels."""
    default_size: int
    """Pixels of each side, for jobs without a size."""
    default_steps: int
    default_guidance: float | None
    takes_area: bool = False
    """Whether it takes `max_area`, the pixels of an image, and makes images of another size without it."""
    guiders: tuple[str, ...] = ()
    """Attributes of parts that remember how far a job is, as the scheduler does."""
    fixed_arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments that each job is given."""

    changes_denoiser: bool = False
    """Whether each job puts parts of its own into the denoiser that all share, as perturbed attention (PAG) does."""

    @property
    def why_alone(self) -> str:
        """Why each job must have the device to itself, as a part of a sentence; empty if it need not."""
        if self.denoiser is None:
            return "the denoiser of this pipeline is not known"
        return "jobs of this pipeline change the denoiser while they run" if self.changes_denoiser else ""


# GLM-Image's language model writes a token for each 32 x 32 pixels. Ideogram 4 takes one guidance for all steps
# only without its own list of them, which is for 48 steps.
_CORRECTIONS: dict[str, dict[str, Any]] = {
    "GlmImagePipeline": {"size_multiple": 32},
    "Ideogram4Pipeline": {"fixed_arguments": {"guidance_schedule": None}, "default_guidance": 7.0},
}


def inspect_pipeline(pipe: Any) -> PipelineTraits:
    """The facts about *pipe*.

    Raises:
        ModelUnavailable: if it does not make images from text.
    """
    name = type(pipe).__name__
    parameters = inspect.signature(type(pipe).__call__).parameters
    if "prompt" not in parameters:
        raise ModelUnavailable(f"{name} takes no prompt: {_CHOOSE_ANOTHER}")
    if "num_frames" in parameters:
        raise ModelUnavailable(f"{name} makes videos: {_CHOOSE_ANOTHER}")
    if "control_image" in parameters or getattr(pipe, "controlnet", None) is not None:
        raise ModelUnavailable(f"{name} needs a control image, and jobs have none: {_CHOOSE_ANOTHER}")
    if name in _EDITORS or _needs_image(parameters):
        raise ModelUnavailable(f"{name} makes images from other images, and jobs have none: {_CHOOSE_ANOTHER}")
    guidance, negative_guidance = _guidance_arguments(parameters)
    has_negative_prompt = "negative_prompt" in parameters
    traits = PipelineTraits(
        denoiser=next((part for part in ("unet", "transformer") if getattr(pipe, part, None) is not None), None),
        guidance=guidance,
        negative_guidance=negative_guidance,
        has_negative_prompt=has_negative_prompt,
        blank_negative=" " if guidance == _TRUE_CFG and has_negative_prompt else None,
        has_step_callback="callback_on_step_end" in parameters,
        size_multiple=_size_multiple(pipe),
        default_size=_default_size(pipe, parameters),
        default_steps=_default(parameters, "num_inference_steps") or 30,
        default_guidance=_default(parameters, guidance) if guidance else None,
        takes_area="max_area" in parameters,
        changes_denoiser=hasattr(pipe, "set_pag_applied_layers"),
        guiders=tuple(part for part in pipe.components if hasattr(getattr(pipe, part, None), "set_state")),
    )
    return replace(traits, **_CORRECTIONS.get(name, {}))


def problems_of(job: GenerationJob, traits: PipelineTraits, *, name: str) -> list[str]:
    """What in *job* a pipeline of *traits*, called *name*, cannot do, a sentence each."""
    problems: list[str] = []
    for side in ("width", "height"):
        value = getattr(job, side)
        if value is not None and value % traits.size_multiple:
            problems.append(f"{side}: {value} is not a multiple of {traits.size_multiple}, which {name} needs")
    if job.negative_prompt is not None and not traits.has_negative_prompt:
        problems.append(f"negative_prompt: {name} has none; leave it out")
    if job.guidance_scale is not None and traits.guidance is None:
        problems.append(f"guidance_scale: {name} has none; leave it out")
    return problems


def defaults_of(traits: PipelineTraits, model: ModelSettings) -> dict[str, Any]:
    """What jobs get that leave it open: as *model* says, and else as the pipeline has it."""
    width, height = (model.default_size or f"{traits.default_size}x{traits.default_size}").split("x")
    guidance = model.default_guidance_scale
    return {
        "width": int(width),
        "height": int(height),
        "steps": model.default_steps or traits.default_steps,
        "guidance_scale": traits.default_guidance if guidance is None else guidance,
    }


def _guidance_arguments(parameters: Any) -> tuple[str | None, str | None]:
    """The names of the arguments for the guidance: for each job, and for one with a negative prompt if that is another.

    FLUX's pipelines take a distilled guidance as `guidance_scale`; a negative prompt works only through
    `true_cfg_scale`, whose default of 1.0 ignores it silently. Qwen-Image's use only `true_cfg_scale` (`guidance_scale`
    is None), and ignore it without a negative prompt.
    """
    if _TRUE_CFG in parameters:
        is_distilled = _default(parameters, "guidance_scale") is not None
        return ("guidance_scale", _TRUE_CFG) if is_distilled else (_TRUE_CFG, None)
    return next((name for name in ("guidance_scale", "prior_guidance_scale") if name in parameters), None), None


def _needs_image(parameters: Any) -> bool:
    """Whether a pipeline begins with an image: one that it must be given, or one to keep more or less of."""
    image = parameters.get("image")
    if image is None:
        return False
    return image.default is inspect.Parameter.empty or "strength" in parameters or "mask_image" in parameters


def _default(parameters: Any, name: str) -> Any:
    parameter = parameters.get(name)
    return None if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def _latent_scale(pipe: Any) -> int:
    """Pixels of each side that a latent becomes; 1 for pipelines that denoise pixels."""
    has_decoder = any(getattr(pipe, name, None) is not None for name in ("vae", "movq", "vqgan"))
    return int(getattr(pipe, "vae_scale_factor", 8 if has_decoder else 1))


def _size_multiple(pipe: Any) -> int:
    """What sizes must be a multiple of; many pipelines make images of another size without a word else."""
    if (movq := getattr(pipe, "movq", None)) is not None:  # Kandinsky's rounds sizes up to the square of its scale
        return 4 ** (len(movq.config.block_out_channels) - 1)
    if (prior := getattr(pipe, "prior_pipe", None)) is not None and "resolution_multiple" in prior.config:
        return round(3 * prior.config.resolution_multiple)  # 42.67: a third of 128
    # Transformers see latents in patches of 2x2; some of their pipelines round other sizes down.
    patch = 1 if getattr(pipe, "unet", None) is not None else 2
    return max(8, _latent_scale(pipe) * patch)


def _default_size(pipe: Any, parameters: Any) -> int:
    """What the pipeline makes if it is not told a height, by the several ways in which pipelines find that out."""
    size = _default(parameters, "height")
    if size is None and hasattr(pipe, "get_default_resolution"):
        size = pipe.get_default_resolution()
    if size is None:
        latent = getattr(pipe, "default_sample_size", None)
        denoiser = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
        if latent is None and denoiser is not None:
            latent = getattr(denoiser.config, "sample_size", None)
        size = latent * _latent_scale(pipe) if isinstance(latent, int) else 1024
    multiple = _size_multiple(pipe)
    return max(multiple, size // multiple * multiple)
