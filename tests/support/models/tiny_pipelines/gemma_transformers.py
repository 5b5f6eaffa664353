"""Transformers that read a Gemma: Sana, Lumina and PRX."""

from typing import Any

import diffusers
import torch

from tests.support.models.tiny_pipelines import language_models, vaes
from tests.support.models.tiny_pipelines.stable_diffusion import FLOW
from tests.support.models.tiny_pipelines.tokenizers import gemma_tokenizer
from tests.support.models.tiny_pipelines.weights import responsive


def sana(kind: Any = diffusers.SanaPipeline) -> Any:
    """Sana as a pipeline of class *kind*."""
    transformer = diffusers.SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=32,
        sample_size=16,  # images of 512 pixels: the smallest size that the pipeline has a list of shapes for
    )
    return kind(
        tokenizer=gemma_tokenizer(),
        # Sana puts a long instruction before each prompt: one layer with one head keeps that quick.
        text_encoder=language_models.gemma2(layers=1, heads=1),
        vae=vaes.deep_compression(),
        transformer=transformer,
        scheduler=FLOW(shift=3.0),
    )


def sana_pag() -> Any:
    """Sana with perturbed attention."""
    return sana(diffusers.SanaPAGPipeline)


def lumina() -> Any:
    """Lumina-Next, which reads a Gemma."""
    transformer = diffusers.LuminaNextDiT2DModel(
        sample_size=vaes.SIDE // 8,
        patch_size=2,
        in_channels=4,
        hidden_size=32,
        num_layers=2,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        cross_attention_dim=32,
    )
    torch.nn.init.normal_(transformer.pad_token)  # made with torch.empty: whatever lay in memory
    return diffusers.LuminaPipeline(
        transformer=transformer,
        scheduler=FLOW(),
        vae=vaes.kl(),
        text_encoder=language_models.gemma(),
        tokenizer=gemma_tokenizer(),
    )


def lumina2() -> Any:
    """Lumina 2, which reads a Gemma 2."""
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=vaes.SIDE // 8,
        patch_size=2,
        in_channels=16,
        hidden_size=32,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(8, 4, 4),
        axes_lens=(300, 64, 64),
        cap_feat_dim=32,
    )
    return diffusers.Lumina2Pipeline(
        transformer=responsive(transformer),
        scheduler=FLOW(shift=3.0),
        vae=vaes.kl(16, scale=0.3611, shift=0.1159),
        text_encoder=language_models.gemma2(),
        tokenizer=gemma_tokenizer(),
    )


def prx() -> Any:
    """PRX, which reads the encoder of a T5Gemma."""
    transformer = diffusers.PRXTransformer2DModel(
        patch_size=2,
        in_channels=16,
        context_in_dim=32,
        hidden_size=32,
        mlp_ratio=2.0,
        num_heads=2,
        depth=2,
        axes_dim=[8, 8],
    )
    return diffusers.PRXPipeline(
        transformer=responsive(transformer),
        scheduler=FLOW(shift=3.0),
        text_encoder=language_models.t5_gemma(),
        tokenizer=gemma_tokenizer(),
        vae=vaes.kl(16, scale=0.3611, shift=0.1159),
        default_sample_size=256,
    )
