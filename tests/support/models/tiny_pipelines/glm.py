"""Families that read a GLM: CogView 4, and GLM-Image, whose language model writes tokens of an image first."""

from typing import Any

import diffusers
import transformers

from tests.support.models.tiny_pipelines import language_models, vaes
from tests.support.models.tiny_pipelines.stable_diffusion import FLOW
from tests.support.models.tiny_pipelines.tokenizers import glm_image_tokenizer, glm_tokenizer
from tests.support.models.tiny_pipelines.weights import responsive


def cogview4(kind: Any = diffusers.CogView4Pipeline, *, channels: int = 4) -> Any:
    """CogView 4 as a pipeline of class *kind*, whose denoiser is given *channels*."""
    transformer = diffusers.CogView4Transformer2DModel(
        patch_size=2,
        in_channels=channels,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        text_embed_dim=32,
        time_embed_dim=16,
        condition_dim=4,
        sample_size=vaes.SIDE // 8,
        rope_axes_dim=(32, 32),
    )
    return kind(
        tokenizer=glm_tokenizer(),
        text_encoder=language_models.glm(),
        vae=vaes.kl(),
        transformer=responsive(transformer),
        scheduler=FLOW(use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75, time_shift_type="linear"),
    )


def cogview4_control() -> Any:
    """CogView 4 with a control image beside the latents."""
    return cogview4(diffusers.CogView4ControlPipeline, channels=8)


def glm_image() -> Any:
    """GLM-Image."""
    transformer = diffusers.GlmImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        text_embed_dim=32,
        time_embed_dim=16,
        condition_dim=4,
        prior_vq_quantizer_codebook_size=128,
    )
    letters = transformers.ByT5Tokenizer(model_max_length=512)
    words = transformers.T5Config(vocab_size=len(letters), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    return diffusers.GlmImagePipeline(
        tokenizer=letters,
        processor=transformers.GlmImageProcessor(transformers.GlmImageImageProcessor(), glm_image_tokenizer()),
        text_encoder=transformers.T5EncoderModel(words),
        vision_language_encoder=language_models.glm_image(),
        vae=vaes.kl(latents_mean=[0.0] * 4, latents_std=[1.0] * 4),
        transformer=responsive(transformer),
        scheduler=FLOW(use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75, time_shift_type="linear"),
    )
