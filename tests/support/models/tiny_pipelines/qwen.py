"""Families with a text encoder of the Qwen VL line: Qwen-Image and those after it, Krea 2, Nucleus and Ideogram 4."""

from typing import Any

import diffusers
import transformers

from tests.support.models.tiny_pipelines import language_models, vaes
from tests.support.models.tiny_pipelines.stable_diffusion import FLOW
from tests.support.models.tiny_pipelines.tokenizers import qwen_tokenizer, qwen_vision_tokenizer
from tests.support.models.tiny_pipelines.weights import responsive

#: Arguments of Qwen-Image's denoiser, which its ControlNets share.
SHAPE: dict[str, Any] = {
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 4,
    "num_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "axes_dims_rope": (8, 4, 4),
}


def qwen_image(kind: Any = diffusers.QwenImagePipeline, **more: Any) -> Any:
    """A pipeline of class *kind* with the parts of Qwen-Image and *more*."""
    transformer = diffusers.QwenImageTransformer2DModel(**SHAPE)
    vae = vaes.qwen_image()
    return kind(
        scheduler=FLOW(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=language_models.qwen_vision(),
        tokenizer=qwen_tokenizer(),
        transformer=transformer,
        **more,
    )


def krea2() -> Any:
    """Krea 2, which reads three layers of its text encoder."""
    transformer = diffusers.Krea2Transformer2DModel(
        in_channels=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        timestep_embed_dim=16,
        text_hidden_dim=32,
        num_text_layers=3,
        text_num_attention_heads=2,
        text_num_key_value_heads=1,
        text_intermediate_size=32,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(8, 4, 4),
    )
    return diffusers.Krea2Pipeline(
        scheduler=FLOW(use_dynamic_shifting=True),
        vae=vaes.qwen_image(),
        text_encoder=language_models.qwen3_vision(transformers.Qwen3VLModel),
        tokenizer=qwen_vision_tokenizer(),
        transformer=responsive(transformer),
        text_encoder_select_layers=(0, 1, 2),
    )


def ideogram4() -> Any:
    """Ideogram 4, with a second denoiser for no text; it reads up to the 35th layer of its text encoder."""
    shape: dict[str, Any] = {
        "in_channels": 16,
        "num_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "adaln_dim": 16,
        "llm_features_dim": 13 * 32,
        "mrope_section": (4, 2, 2),
    }
    return diffusers.Ideogram4Pipeline(
        scheduler=FLOW(),
        vae=vaes.flux2(),
        # Each prompt is filled up to 2,048 tokens: one head keeps that quick.
        text_encoder=language_models.qwen3_vision(transformers.Qwen3VLModel, layers=36, heads=1),
        tokenizer=qwen_vision_tokenizer(),
        transformer=responsive(diffusers.Ideogram4Transformer2DModel(**shape)),
        unconditional_transformer=diffusers.Ideogram4Transformer2DModel(**shape),
    )
