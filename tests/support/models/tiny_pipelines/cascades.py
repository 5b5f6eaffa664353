"""Families of several stages: DeepFloyd IF's first, Kandinsky's, Wuerstchen and Stable Cascade."""

from typing import Any

import diffusers
import torch
import transformers
from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel, WuerstchenDiffNeXt, WuerstchenPrior
from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP

from tests.support.models.tiny_pipelines import encoders, vaes
from tests.support.models.tiny_pipelines.tokenizers import clip_tokenizer, t5_tokenizer, xlm_roberta_tokenizer
from tests.support.models.tiny_pipelines.weights import stirred

_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear"}


def deepfloyd_if() -> Any:
    """The first stage of DeepFloyd IF, which denoises pixels."""
    return diffusers.IFPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=encoders.t5(32),
        unet=_unet(
            sample_size=vaes.SIDE,
            in_channels=3,
            out_channels=6,
            addition_embed_type="text",
            addition_embed_type_num_heads=2,
            cross_attention_norm="group_norm",
            act_fn="gelu",
        ),
        scheduler=diffusers.DDPMScheduler(variance_type="learned_range", thresholding=True),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


def kandinsky() -> Any:
    """Kandinsky 2.1: a prior makes an image embedding, of which a second stage makes the image."""
    config = MCLIPConfig(
        transformerDimSize=32,
        imageDimSize=32,
        vocab_size=len(xlm_roberta_tokenizer()),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=80,
        pad_token_id=1,
    )
    return diffusers.KandinskyCombinedPipeline(
        text_encoder=MultilingualCLIP(config),
        tokenizer=xlm_roberta_tokenizer(),
        unet=_kandinsky_unet("text_image", "text_image_proj"),
        scheduler=diffusers.DDIMScheduler(**_NOISE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        movq=vaes.movq(),
        **_kandinsky_prior(),
    )


def kandinsky22() -> Any:
    """Kandinsky 2.2: its second stage sees no text."""
    return diffusers.KandinskyV22CombinedPipeline(
        unet=_kandinsky_unet("image", "image_proj"),
        scheduler=diffusers.DDPMScheduler(**_NOISE, clip_sample=True, steps_offset=1),
        movq=vaes.movq(),
        **_kandinsky_prior(),
    )


def kandinsky3() -> Any:
    """Kandinsky 3, of one stage."""
    unet = diffusers.Kandinsky3UNet(
        in_channels=4,
        time_embedding_dim=16,
        groups=4,
        attention_head_dim=8,
        layers_per_block=3,
        block_out_channels=(16, 32),
        cross_attention_dim=32,
        encoder_hid_dim=32,
    )
    return diffusers.Kandinsky3Pipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=encoders.t5(32),
        unet=stirred(unet),
        scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=True, steps_offset=1),
        movq=vaes.movq(),
    )


def wuerstchen() -> Any:
    """Wuerstchen: a prior makes a small picture, of which a second stage makes the latents of the image."""
    decoder = WuerstchenDiffNeXt(
        c_r=16,
        c_cond=32,
        c_hidden=[16, 32],
        nhead=[-1, 2],
        blocks=[1, 1],
        level_config=["CT", "CTA"],
        inject_effnet=[False, True],
        clip_embd=32,
    )
    pipe = diffusers.WuerstchenCombinedPipeline(
        tokenizer=clip_tokenizer(),
        text_encoder=encoders.clip(),
        decoder=stirred(decoder),
        scheduler=diffusers.DDPMWuerstchenScheduler(),
        vqgan=_paella(),
        prior_tokenizer=clip_tokenizer(),
        prior_text_encoder=encoders.clip(),
        prior_prior=stirred(WuerstchenPrior(c=32, c_cond=32, c_r=16, depth=2, nhead=2)),
        prior_scheduler=diffusers.DDPMWuerstchenScheduler(),
    )
    return _mended(pipe, "vqgan", "decoder", "prior_prior")


def stable_cascade() -> Any:
    """Stable Cascade, built as Wuerstchen is."""
    blocks = ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock")
    shape: dict[str, Any] = {
        "timestep_ratio_embedding_dim": 16,
        "conditioning_dim": 32,
        "block_out_channels": (32, 32),
        "num_attention_heads": (2, 2),
        "down_num_layers_per_block": (1, 1),
        "up_num_layers_per_block": (1, 1),
        "block_types_per_layer": (blocks, blocks),
        "clip_text_pooled_in_channels": 32,
    }
    prior = diffusers.StableCascadeUNet(
        **shape, clip_text_in_channels=32, clip_image_in_channels=32, switch_level=(False,)
    )
    decoder = diffusers.StableCascadeUNet(
        **shape, in_channels=4, out_channels=4, patch_size=2, effnet_in_channels=16, timestep_conditioning_type=("sca",)
    )
    pipe = diffusers.StableCascadeCombinedPipeline(
        tokenizer=clip_tokenizer(),
        text_encoder=encoders.clip(transformers.CLIPTextModelWithProjection),
        decoder=stirred(decoder),
        scheduler=diffusers.DDPMWuerstchenScheduler(),
        vqgan=_paella(),
        prior_prior=stirred(prior),
        prior_text_encoder=encoders.clip(transformers.CLIPTextModelWithProjection),
        prior_tokenizer=clip_tokenizer(),
        prior_scheduler=diffusers.DDPMWuerstchenScheduler(),
    )
    return _mended(pipe, "vqgan")


def _unet(**shape: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        layers_per_block=1,
        block_out_channels=[16, 32],
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        norm_num_groups=4,
        cross_attention_dim=32,
        encoder_hid_dim=32,
        attention_head_dim=8,
        resnet_time_scale_shift="scale_shift",
        **shape,
    )


def _kandinsky_unet(addition: str, projection: str) -> Any:
    return _unet(
        sample_size=vaes.SIDE // 8,
        in_channels=4,
        out_channels=8,
        addition_embed_type=addition,
        encoder_hid_dim_type=projection,
    )


def _kandinsky_prior() -> dict[str, Any]:
    prior = diffusers.PriorTransformer(num_attention_heads=2, attention_head_dim=16, num_layers=1, embedding_dim=32)
    torch.nn.init.ones_(prior.clip_std)  # zeros, which would make all embeddings equal
    stirred(prior)
    return {
        "prior_prior": prior,
        "prior_image_encoder": encoders.clip_vision(),
        "prior_text_encoder": encoders.clip(transformers.CLIPTextModelWithProjection),
        "prior_tokenizer": clip_tokenizer(),
        "prior_scheduler": diffusers.UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample=True, clip_sample_range=10.0
        ),
        "prior_image_processor": transformers.CLIPImageProcessor(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        ),
    }


def _paella() -> Any:
    return PaellaVQModel(bottleneck_blocks=1, embed_dim=8, num_vq_embeddings=16)


def _mended(pipe: Any, *parts: str) -> Any:
    """*pipe*, whose index says where the classes of *parts* are: diffusers 0.42 would write where they were once."""
    classes = {name: type(getattr(pipe, name)) for name in parts}
    pipe.register_to_config(**{name: (kind.__module__, kind.__name__) for name, kind in classes.items()})
    return pipe
