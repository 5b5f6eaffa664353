"""Transformers that read a T5 encoder: PixArt, Hunyuan-DiT, AuraFlow and CogView 3."""

from typing import Any

import diffusers

from tests.support.models.tiny_pipelines import encoders, vaes
from tests.support.models.tiny_pipelines.stable_diffusion import FLOW
from tests.support.models.tiny_pipelines.tokenizers import bert_tokenizer, t5_tokenizer
from tests.support.models.tiny_pipelines.weights import responsive


def pixart_alpha() -> Any:
    """PixArt-alpha."""
    return _pixart(diffusers.PixArtAlphaPipeline)


def pixart_sigma() -> Any:
    """PixArt-Sigma."""
    return _pixart(diffusers.PixArtSigmaPipeline)


def pixart_sigma_pag() -> Any:
    """PixArt-Sigma with perturbed attention."""
    return _pixart(diffusers.PixArtSigmaPAGPipeline)


def _pixart(kind: Any) -> Any:
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=32,  # images of 256 pixels: the smallest size that the pipeline has a list of shapes for
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_channels=32,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=32,
    )
    return kind(
        tokenizer=t5_tokenizer(),
        text_encoder=encoders.t5(32),
        vae=vaes.kl(),
        transformer=transformer,
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    )


def hunyuan(kind: Any = diffusers.HunyuanDiTPipeline) -> Any:
    """Hunyuan-DiT as a pipeline of class *kind*.

    It makes images of about 1024 x 1024 pixels, whatever is asked: a narrow autoencoder without attention keeps that
    quick.
    """
    transformer = diffusers.HunyuanDiT2DModel(
        sample_size=128,
        num_layers=2,
        patch_size=2,
        attention_head_dim=16,
        num_attention_heads=1,
        hidden_size=16,
        in_channels=4,
        cross_attention_dim=32,
        cross_attention_dim_t5=32,
        pooled_projection_dim=16,
    )
    return kind(
        vae=vaes.kl(width=4, mid_block_add_attention=False),
        text_encoder=encoders.bert(32),
        tokenizer=bert_tokenizer(),
        transformer=transformer,
        scheduler=diffusers.DDPMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        text_encoder_2=encoders.t5(32),
        tokenizer_2=t5_tokenizer(),
    )


def hunyuan_pag() -> Any:
    """Hunyuan-DiT with perturbed attention."""
    return hunyuan(diffusers.HunyuanDiTPAGPipeline)


def auraflow() -> Any:
    """AuraFlow, whose T5 is a UMT5."""
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=vaes.SIDE // 8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pos_embed_max_size=64,
    )
    return diffusers.AuraFlowPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=encoders.umt5(32),
        vae=vaes.kl(),
        transformer=responsive(transformer),
        scheduler=FLOW(shift=1.73),
    )


def cogview3() -> Any:
    """CogView 3 Plus."""
    transformer = diffusers.CogView3PlusTransformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        text_embed_dim=32,
        time_embed_dim=16,
        condition_dim=4,
        pos_embed_max_size=32,
        sample_size=vaes.SIDE // 8,
    )
    return diffusers.CogView3PlusPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=encoders.t5(32, scale=3.0),
        vae=vaes.kl(),
        transformer=transformer,
        scheduler=diffusers.CogVideoXDDIMScheduler(),
    )
