"""Families that make videos, which diffusers counts among those for images."""

from typing import Any

import diffusers

from tests.support.models.tiny_pipelines import encoders
from tests.support.models.tiny_pipelines.tokenizers import t5_tokenizer


def helios() -> Any:
    """Helios."""
    return diffusers.HeliosPipeline(
        scheduler=diffusers.HeliosScheduler(stage_range=[0, 1], stages=1, use_dynamic_shifting=True), **_parts()
    )


def helios_pyramid() -> Any:
    """Helios that goes from small latents to large ones."""
    return diffusers.HeliosPyramidPipeline(
        scheduler=diffusers.HeliosDMDScheduler(gamma=0.3), **_parts(), is_distilled=True
    )


def _parts() -> dict[str, Any]:
    transformer = diffusers.HeliosTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=32,
        ffn_dim=32,
        num_layers=2,
        rope_dim=(4, 4, 4),
    )
    vae = diffusers.AutoencoderKLWan(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    return {"tokenizer": t5_tokenizer(), "text_encoder": encoders.umt5(32), "vae": vae, "transformer": transformer}
