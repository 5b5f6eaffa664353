"""Pipelines: a diffusers pipeline from a folder or a pinned repository, loaded without running anybody's code."""

import functools
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]  # lazy, and public all the same

from imagefleet.errors import SettingsInvalid, described
from imagefleet_worker.diffusion.optimizations import apply_optimizations, quantization_config
from imagefleet_worker.diffusion.padded_text import pad_text
from imagefleet_worker.errors import ModelUnavailable
from imagefleet_worker.hardware.torch_device import use_whole_float32
from imagefleet_worker.settings import GroupKind, GroupSettings, ModelSettings, SpeedSettings
from imagefleet_worker.settings.model_folder import why_no_pipeline


def load_pipeline(
    settings: ModelSettings,
    speed: SpeedSettings,
    *,
    device: torch.device,
    dtype: torch.dtype,
    group: GroupSettings | None = None,
) -> Any:
    """The pipeline that *settings* name, with the levers of *speed*, on *device*, ready to be called.

    Where *group* is balanced, its parts are on several devices.

    Only safetensors weights are read, code from the model's repository is never run.

    Raises:
        SettingsInvalid: if they name none.
        ModelUnavailable: with what diffusers says and what to check.
    """
    if not settings.source:
        raise SettingsInvalid("no model is set: set IMAGEFLEET_MODEL_SOURCE to a folder or a repository id")
    _silence_libraries()
    if dtype == torch.float32:
        use_whole_float32()
    quantization, placing = quantization_config(speed), _placing(group)
    try:
        pipe: Any = DiffusionPipeline.from_pretrained(
            settings.source,
            revision=settings.revision,
            variant=settings.variant,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=settings.offline,
            trust_remote_code=False,
            **({"quantization_config": quantization} if quantization else {}),
            **placing,
        )
    except Exception as error:
        raise ModelUnavailable(_why_not_loaded(settings.source, error)) from error
    pipe.set_progress_bar_config(disable=True)
    if getattr(pipe, "watermark", None) is not None:  # SDXL turns it on if a certain package happens to be there
        pipe.watermark = None
    _keep_vae_in_range(pipe)
    apply_optimizations(pipe, speed, device=None if placing else device)
    if device.type == "cpu":
        pad_text(getattr(pipe, "unet", None))
    return pipe


def _why_not_loaded(source: str, error: Exception) -> str:
    """What the folder or repository *source* is instead of a pipeline, and what a pipeline would be."""
    folder = Path(source)
    if folder.is_dir() and (why := why_no_pipeline(folder)):
        return why
    return (
        f"{source} cannot be loaded: {described(error)}. "
        "It must be a diffusers model (model_index.json) with safetensors weights"
    )


def _placing(group: GroupSettings | None) -> dict[str, Any]:
    if group is None or group.kind is not GroupKind.BALANCED:
        return {}
    return {"device_map": "balanced", "max_memory": group.memory or None}


def _silence_libraries() -> None:
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def _keep_vae_in_range(pipe: Any) -> None:
    # SDXL's VAE overflows in float16. Its pipeline would cast the shared VAE up and down again round every decode,
    # under the feet of other jobs; so it is float32 from the start, and takes the latents that others leave in float16.
    vae = getattr(pipe, "vae", None)
    if vae is None or vae.dtype != torch.float16 or not getattr(vae.config, "force_upcast", False):
        return
    vae.to(torch.float32)
    decode = vae.decode

    @functools.wraps(decode)  # callers look what it takes
    def in_float32(z: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return decode(z.to(torch.float32), *args, **kwargs)

    vae.decode = in_float32
