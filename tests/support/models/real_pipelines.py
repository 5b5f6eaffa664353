"""Pipelines of real sizes with random weights, made on the device in seconds: nothing is downloaded or read.

Images of them are noise. Speed and memory are those of the real models, since neither depends on the weights' values.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import diffusers
import torch
import transformers

from tests.support.models.real_sizes import Sizes
from tests.support.models.tiny_pipelines import clip_tokenizer, t5_tokenizer

_TOKENS = 77
_T5_TOKENS = 256  # as FLUX.1-schnell has it
_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def make(family: str, sizes: Sizes, *, device: torch.device, dtype: torch.dtype) -> Any:
    """A pipeline of *family* (`sd15`, `sdxl` or `flux-schnell`) on *device*, its weights drawn from seed 0."""
    parts = {"sd15": _sd15_parts, "sdxl": _sdxl_parts, "flux-schnell": _flux_parts}[family]
    with _drawn(device, dtype):
        made = parts(sizes)
        made["vae"] = diffusers.AutoencoderKL(**sizes.vae)
    for part in made.values():
        part.eval().requires_grad_(requires_grad=False)
    pipe = {"sd15": _sd15, "sdxl": _sdxl, "flux-schnell": _flux}[family](made)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def _drawn(device: torch.device, dtype: torch.dtype) -> Generator[None]:
    """New modules lie on *device* in *dtype*, with weights from seed 0; no other draws are changed."""
    before = torch.get_default_dtype()
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(devices), device:
            torch.manual_seed(0)
            yield
    finally:
        torch.set_default_dtype(before)


def _sd15_parts(sizes: Sizes) -> dict[str, Any]:
    return {"unet": diffusers.UNet2DConditionModel(**sizes.denoiser), "text_encoder": _clip(sizes.clip)}


def _sdxl_parts(sizes: Sizes) -> dict[str, Any]:
    assert sizes.second
    second = _clip(sizes.second, kind=transformers.CLIPTextModelWithProjection)
    return {**_sd15_parts(sizes), "text_encoder_2": second}


def _flux_parts(sizes: Sizes) -> dict[str, Any]:
    assert sizes.second
    return {
        "transformer": diffusers.FluxTransformer2DModel(**sizes.denoiser),
        "text_encoder": _clip(sizes.clip),
        "text_encoder_2": transformers.T5EncoderModel(transformers.T5Config(**sizes.second)),
    }


def _clip(config: dict[str, Any], *, kind: Any = transformers.CLIPTextModel) -> Any:
    words = len(clip_tokenizer())  # fewer than the model knows; where a text ends must be the same word for both
    ends = {"bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": words - 1}
    return kind(transformers.CLIPTextConfig(max_position_embeddings=_TOKENS, **ends, **config))


def _sd15(parts: dict[str, Any]) -> Any:
    return diffusers.StableDiffusionPipeline(
        **parts,
        tokenizer=clip_tokenizer(),
        scheduler=diffusers.DDIMScheduler(**_DIFFUSION, clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl(parts: dict[str, Any]) -> Any:
    return diffusers.StableDiffusionXLPipeline(
        **parts,
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        scheduler=diffusers.EulerDiscreteScheduler(**_DIFFUSION, timestep_spacing="leading"),
        add_watermarker=False,
    )


def _flux(parts: dict[str, Any]) -> Any:
    tokenizer = t5_tokenizer()
    tokenizer.model_max_length = _T5_TOKENS
    return diffusers.FluxPipeline(
        **parts,
        tokenizer=clip_tokenizer(),
        tokenizer_2=tokenizer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0),
    )
