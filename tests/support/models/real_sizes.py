"""The shapes of real models, from their published configurations, and the same shapes scaled down for a CPU.

Stable Diffusion 1.5, SDXL 1.0 and FLUX.1-schnell. `REAL` gives 860 M, 2.57 B and 11.9 B parameters in the denoiser.
"""

from dataclasses import dataclass
from typing import Any

Config = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Keyword arguments of each part, and the jobs that are measured with them."""

    denoiser: Config
    vae: Config
    clip: Config
    #: The second text encoder; None for Stable Diffusion 1.5.
    second: Config | None
    #: Pixels of each side.
    side: int
    steps: int
    #: The most jobs at once.
    jobs: int
    #: Of the denoiser's input for one job: one with guidance and one without, or one alone.
    rows_each: int = 2


_VAE: Config = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
_FLUX_VAE: Config = {
    **_VAE,
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "sample_size": 1024,
}
_SMALL_VAE: Config = {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
_CLIP_L: Config = {
    "vocab_size": 49_408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
_SMALL_CLIP: Config = {
    **_CLIP_L,
    "vocab_size": 600,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "projection_dim": 32,
}
_CLIP_BIG_G: Config = {
    "vocab_size": 49_408,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
_T5_XXL: Config = {
    "vocab_size": 32_128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10_240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
_SD15_UNET: Config = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
_SDXL_UNET: Config = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_FLUX: Config = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "axes_dims_rope": (16, 56, 56),
    "guidance_embeds": False,
}

REAL: dict[str, Sizes] = {
    "sd15": Sizes(
        denoiser=_SD15_UNET,
        vae={**_VAE, "scaling_factor": 0.18215, "sample_size": 512},
        clip=_CLIP_L,
        second=None,
        side=512,
        steps=20,
        jobs=16,
    ),
    "sdxl": Sizes(
        denoiser=_SDXL_UNET,
        vae={**_VAE, "scaling_factor": 0.13025, "sample_size": 1024},
        clip=_CLIP_L,
        second=_CLIP_BIG_G,
        side=1024,
        steps=20,
        jobs=8,
    ),
    "flux-schnell": Sizes(
        denoiser=_FLUX, vae=_FLUX_VAE, clip=_CLIP_L, second=_T5_XXL, side=1024, steps=4, jobs=4, rows_each=1
    ),
}

SMALL: dict[str, Sizes] = {
    "sd15": Sizes(
        denoiser={**_SD15_UNET, "block_out_channels": (32, 32, 64, 64), "cross_attention_dim": 32, "sample_size": 8},
        vae={**REAL["sd15"].vae, **_SMALL_VAE, "sample_size": 64},
        clip=_SMALL_CLIP,
        second=None,
        side=64,
        steps=3,
        jobs=4,
    ),
    "sdxl": Sizes(
        denoiser={
            **_SDXL_UNET,
            "block_out_channels": (32, 32, 64),
            "transformer_layers_per_block": (1, 1, 2),
            "attention_head_dim": (1, 2, 4),
            "cross_attention_dim": 64,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 32,
            "sample_size": 8,
        },
        vae={**REAL["sdxl"].vae, **_SMALL_VAE, "sample_size": 64},
        clip=_SMALL_CLIP,
        second={**_SMALL_CLIP, "hidden_act": "gelu"},
        side=64,
        steps=3,
        jobs=2,
    ),
    "flux-schnell": Sizes(
        denoiser={
            **_FLUX,
            "num_layers": 1,
            "num_single_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 32,
            "pooled_projection_dim": 32,
            "axes_dims_rope": (4, 4, 8),
        },
        vae={**_FLUX_VAE, **_SMALL_VAE, "sample_size": 64},
        clip=_SMALL_CLIP,
        second={**_T5_XXL, "vocab_size": 200, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
        side=64,
        steps=2,
        jobs=2,
        rows_each=1,
    ),
}
