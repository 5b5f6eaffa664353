"""FLUX's families, and Chroma and Ovis-Image, which are built as FLUX is."""

from typing import Any

import diffusers
import transformers

from tests.support.models.tiny_pipelines import encoders, language_models, vaes
from tests.support.models.tiny_pipelines.stable_diffusion import FLOW
from tests.support.models.tiny_pipelines.tokenizers import CHAT_OF_PARTS, clip_tokenizer, qwen_tokenizer, t5_tokenizer
from tests.support.models.tiny_pipelines.weights import responsive

#: Arguments of FLUX's denoiser, which its ControlNets share.
SHAPE: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 32,
    "axes_dims_rope": [4, 4, 8],
    "guidance_embeds": True,
}
_FLUX_VAE = {"scale": 0.3611, "shift": 0.1159}


def flux(kind: Any = diffusers.FluxPipeline, *, shape: dict[str, Any] = SHAPE, **more: Any) -> Any:
    """A pipeline of class *kind* with the parts of FLUX.1, a denoiser of *shape*, and *more*."""
    transformer = diffusers.FluxTransformer2DModel(**shape)
    return kind(
        transformer=transformer,
        vae=vaes.kl(**_FLUX_VAE),
        scheduler=FLOW(shift=3.0, use_dynamic_shifting=True),
        text_encoder=encoders.clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=encoders.t5(32),
        tokenizer_2=t5_tokenizer(),
        **more,
    )


def kontext() -> Any:
    """FLUX.1 Kontext, which edits an image or makes one."""
    return flux(diffusers.FluxKontextPipeline)


def control() -> Any:
    """FLUX.1 with a control image beside the latents."""
    return flux(diffusers.FluxControlPipeline, shape=SHAPE | {"in_channels": 32, "out_channels": 16})


def flux2_klein() -> Any:
    """FLUX.2 klein, whose text encoder is a Qwen 3."""
    transformer = _flux2_transformer()
    return diffusers.Flux2KleinPipeline(
        scheduler=FLOW(use_dynamic_shifting=True),
        vae=vaes.flux2(),
        # The pipeline reads layers 9, 18 and 27, and fills each prompt up to 512 tokens: one head keeps that quick.
        text_encoder=language_models.qwen3(transformers.Qwen3ForCausalLM, layers=28, heads=1),
        tokenizer=qwen_tokenizer(),
        transformer=transformer,
    )


def flux2() -> Any:
    """FLUX.2, whose text encoder is a Mistral 3 of at least 30 layers: the pipeline reads the 10th, 20th and 30th."""
    return diffusers.Flux2Pipeline(
        scheduler=FLOW(use_dynamic_shifting=True),
        vae=vaes.flux2(),
        text_encoder=language_models.mistral3(layers=30),
        tokenizer=qwen_tokenizer(chat=CHAT_OF_PARTS),
        transformer=responsive(_flux2_transformer(guidance_embeds=True)),
    )


def _flux2_transformer(*, guidance_embeds: bool = False) -> Any:
    return diffusers.Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=96,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance_embeds,
    )


def chroma() -> Any:
    """Chroma, with a T5 encoder only."""
    transformer = diffusers.ChromaTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=[4, 4, 8],
        approximator_num_channels=16,
        approximator_hidden_dim=32,
        approximator_layers=1,
    )
    return diffusers.ChromaPipeline(
        scheduler=FLOW(shift=3.0),
        vae=vaes.kl(**_FLUX_VAE),
        text_encoder=encoders.t5(32),
        tokenizer=t5_tokenizer(),
        transformer=transformer,
    )


def ovis() -> Any:
    """Ovis-Image, whose text encoder is a Qwen 3."""
    transformer = diffusers.OvisImageTransformer2DModel(
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    return diffusers.OvisImagePipeline(
        scheduler=FLOW(use_dynamic_shifting=True),
        vae=vaes.kl(**_FLUX_VAE),
        text_encoder=language_models.qwen3(),
        tokenizer=qwen_tokenizer(),
        transformer=responsive(transformer),
    )
