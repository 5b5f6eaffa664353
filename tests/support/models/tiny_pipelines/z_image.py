"""Z-Image's families."""

from typing import Any

import diffusers
import torch
import transformers

from tests.support.models.tiny_pipelines import language_models, vaes
from tests.support.models.tiny_pipelines.stable_diffusion import FLOW
from tests.support.models.tiny_pipelines.tokenizers import qwen_tokenizer

SHAPE: dict[str, Any] = {
    "all_patch_size": (2,),
    "all_f_patch_size": (1,),
    "dim": 32,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
}


def z_image(kind: Any = diffusers.ZImagePipeline, *, shape: dict[str, Any] | None = None, **more: Any) -> Any:
    """A pipeline of class *kind* with the parts of Z-Image, a denoiser with *shape* as well, and *more*."""
    transformer = diffusers.ZImageTransformer2DModel(
        **SHAPE,
        in_channels=16,
        n_layers=2,
        cap_feat_dim=32,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 64, 64],
        **shape or {},
    )
    for name in ("x_pad_token", "cap_pad_token", "siglip_pad_token"):  # zeros, or whatever lay in memory
        if (token := getattr(transformer, name, None)) is not None:
            torch.nn.init.normal_(token)
    return kind(
        scheduler=FLOW(shift=3.0),
        vae=vaes.kl(16, scale=0.3611, shift=0.1159),
        text_encoder=language_models.qwen3(),
        tokenizer=qwen_tokenizer(),
        transformer=transformer,
        **more,
    )


def z_image_omni() -> Any:
    """Z-Image Omni, which can be given images as well."""
    config = transformers.Siglip2VisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_patches=16, patch_size=16
    )
    return z_image(
        diffusers.ZImageOmniPipeline,
        shape={"siglip_feat_dim": 32},
        siglip=transformers.Siglip2VisionModel(config),
        siglip_processor=transformers.Siglip2ImageProcessor(),
    )
