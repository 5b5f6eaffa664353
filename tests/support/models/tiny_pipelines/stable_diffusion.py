"""Stable Diffusion's families, the seven that most tests use among them, with and without perturbed attention (PAG)."""

from typing import Any

import diffusers
import transformers

from tests.support.models.tiny_pipelines import encoders, vaes
from tests.support.models.tiny_pipelines.tokenizers import clip_tokenizer, t5_tokenizer

DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
FLOW = diffusers.FlowMatchEulerDiscreteScheduler
#: Arguments of SDXL's denoiser, which its ControlNets share.
XL_SHAPE: dict[str, Any] = {
    "cross_attention_dim": 64,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 32,
    "transformer_layers_per_block": [1, 2],
    "use_linear_projection": True,
}
#: Arguments of SD 3's denoiser, which its ControlNets share.
SD3_SHAPE: dict[str, Any] = {
    "sample_size": vaes.SIDE // 8,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": 64,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 64,
    "pos_embed_max_size": 64,
}
_UNCHECKED: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def unet(**extra: Any) -> Any:
    """A UNet of two blocks that sees texts of 32 numbers a word."""
    shape: dict[str, Any] = {"cross_attention_dim": 32} | extra
    return diffusers.UNet2DConditionModel(
        block_out_channels=[16, 32],
        layers_per_block=1,
        sample_size=vaes.SIDE // 8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=8,
        **shape,
    )


def sd(kind: Any = diffusers.StableDiffusionPipeline, **more: Any) -> Any:
    """A pipeline of class *kind* with the parts of Stable Diffusion 1.5 and *more*."""
    return kind(
        vae=vaes.kl(scale=0.18215),
        text_encoder=encoders.clip(),
        tokenizer=clip_tokenizer(),
        unet=unet(),
        scheduler=diffusers.DDIMScheduler(**DIFFUSION, clip_sample=False, set_alpha_to_one=False),
        **_UNCHECKED,
        **more,
    )


def sd_pag() -> Any:
    """Stable Diffusion 1.5 with perturbed attention."""
    return sd(diffusers.StableDiffusionPAGPipeline)


def lcm() -> Any:
    """A latent consistency model: its denoiser is told the guidance."""
    return diffusers.LatentConsistencyModelPipeline(
        vae=vaes.kl(),
        text_encoder=encoders.clip(),
        tokenizer=clip_tokenizer(),
        unet=unet(time_cond_proj_dim=32),
        scheduler=diffusers.LCMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", set_alpha_to_one=False
        ),
        **_UNCHECKED,
    )


def sdxl(kind: Any = diffusers.StableDiffusionXLPipeline, **more: Any) -> Any:
    """A pipeline of class *kind* with the parts of SDXL and *more*."""
    denoiser = unet(**XL_SHAPE)
    return kind(
        vae=vaes.kl(scale=0.13025),
        text_encoder=encoders.clip(),
        text_encoder_2=encoders.clip(transformers.CLIPTextModelWithProjection, activation="gelu"),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=denoiser,
        scheduler=diffusers.EulerDiscreteScheduler(**DIFFUSION, timestep_spacing="leading"),
        add_watermarker=False,
        **more,
    )


def sdxl_pag() -> Any:
    """SDXL with perturbed attention."""
    return sdxl(diffusers.StableDiffusionXLPAGPipeline)


def sd3(kind: Any = diffusers.StableDiffusion3Pipeline, **more: Any) -> Any:
    """A pipeline of class *kind* with the parts of Stable Diffusion 3 and *more*."""
    transformer = diffusers.SD3Transformer2DModel(**SD3_SHAPE)
    return kind(
        transformer=transformer,
        vae=vaes.kl(16, scale=1.5305, shift=0.0609),
        scheduler=FLOW(shift=3.0),
        text_encoder=encoders.clip(transformers.CLIPTextModelWithProjection),
        tokenizer=clip_tokenizer(),
        text_encoder_2=encoders.clip(transformers.CLIPTextModelWithProjection),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=encoders.t5(64),
        tokenizer_3=t5_tokenizer(),
        **more,
    )


def sd3_pag() -> Any:
    """Stable Diffusion 3 with perturbed attention."""
    return sd3(diffusers.StableDiffusion3PAGPipeline)
