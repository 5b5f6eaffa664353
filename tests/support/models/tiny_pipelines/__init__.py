"""Tiny diffusers pipelines with random weights, built offline in about a second each.

`build(family, folder)` writes one as `DiffusionPipeline.from_pretrained` reads it. The same family gives the same
bytes each time. Images of them are noise, and yet every argument of a job changes them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.support.models.tiny_pipelines import (
    cascades,
    controlnets,
    flux,
    gemma_transformers,
    glm,
    hunyuan_image,
    qwen,
    stable_diffusion,
    t5_transformers,
    video,
    z_image,
)
from tests.support.models.tiny_pipelines.tokenizers import clip_tokenizer, t5_tokenizer

__all__ = ["ALL_FAMILIES", "FAMILIES", "LEFT_OUT", "build", "clip_tokenizer", "save", "t5_tokenizer"]

#: The families that the engine's tests go through.
FAMILIES: dict[str, Callable[[], Any]] = {
    "sd": stable_diffusion.sd,
    "sdxl": stable_diffusion.sdxl,
    "sd3": stable_diffusion.sd3,
    "flux": flux.flux,
    "z-image": z_image.z_image,
    "flux2-klein": flux.flux2_klein,
    "qwen-image": qwen.qwen_image,
}

#: Every family of diffusers' `AUTO_TEXT2IMAGE_PIPELINES_MAPPING`, by its name there where it has no shorter one above.
ALL_FAMILIES: dict[str, Callable[[], Any]] = FAMILIES | {
    "stable-diffusion-pag": stable_diffusion.sd_pag,
    "stable-diffusion-xl-pag": stable_diffusion.sdxl_pag,
    "stable-diffusion-3-pag": stable_diffusion.sd3_pag,
    "lcm": stable_diffusion.lcm,
    "stable-diffusion-controlnet": controlnets.sd,
    "stable-diffusion-controlnet-pag": controlnets.sd_pag,
    "stable-diffusion-xl-controlnet": controlnets.sdxl,
    "stable-diffusion-xl-controlnet-pag": controlnets.sdxl_pag,
    "stable-diffusion-xl-controlnet-union": controlnets.sdxl_union,
    "stable-diffusion-3-controlnet": controlnets.sd3,
    "if": cascades.deepfloyd_if,
    "kandinsky": cascades.kandinsky,
    "kandinsky22": cascades.kandinsky22,
    "kandinsky3": cascades.kandinsky3,
    "wuerstchen": cascades.wuerstchen,
    "cascade": cascades.stable_cascade,
    "pixart-alpha": t5_transformers.pixart_alpha,
    "pixart-sigma": t5_transformers.pixart_sigma,
    "pixart-sigma-pag": t5_transformers.pixart_sigma_pag,
    "hunyuan": t5_transformers.hunyuan,
    "hunyuan-pag": t5_transformers.hunyuan_pag,
    "auraflow": t5_transformers.auraflow,
    "cogview3": t5_transformers.cogview3,
    "sana": gemma_transformers.sana,
    "sana-pag": gemma_transformers.sana_pag,
    "lumina": gemma_transformers.lumina,
    "lumina2": gemma_transformers.lumina2,
    "prx": gemma_transformers.prx,
    "cogview4": glm.cogview4,
    "cogview4-control": glm.cogview4_control,
    "glm_image": glm.glm_image,
    "flux-control": flux.control,
    "flux-controlnet": controlnets.flux_1,
    "flux-kontext": flux.kontext,
    "flux2": flux.flux2,
    "chroma": flux.chroma,
    "ovis": flux.ovis,
    "ideogram4": qwen.ideogram4,
    "krea2": qwen.krea2,
    "qwenimage-controlnet": controlnets.qwen_image,
    "z-image-omni": z_image.z_image_omni,
    "z-image-controlnet": controlnets.z_image_plain,
    "z-image-controlnet-inpaint": controlnets.z_image_inpaint,
    "hunyuan-image": hunyuan_image.hunyuan_image,
    "helios": video.helios,
    "helios-pyramid": video.helios_pyramid,
}

#: Those of them that cannot be built here, and why.
LEFT_OUT: dict[str, str] = {
    "qwenimage21": "its Qwen3VLProcessor reads videos too, for which it needs torchvision: no part of the worker",
    "nucleusmoe-image": "its Qwen3VLProcessor reads videos too, for which it needs torchvision: no part of the worker",
}


def build(family: str, folder: Path) -> Path:
    """Write the tiny pipeline of *family*, of `ALL_FAMILIES`, to *folder*, readable by all users; gives *folder*."""
    return save(ALL_FAMILIES[family], folder)


def save(make: Callable[[], Any], folder: Path) -> Path:
    """Write the pipeline that *make* makes, with weights that are the same each time, as `build` does."""
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    try:
        pipe = make()
    finally:
        torch.random.set_rng_state(state)
    pipe.save_pretrained(folder, safe_serialization=True)
    for path in folder.rglob("*"):  # safetensors files are written for their owner only
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder
