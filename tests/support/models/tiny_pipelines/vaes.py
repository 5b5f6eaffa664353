"""Autoencoders of one layer for each block with random weights: they make images out of latents."""

from typing import Any

import diffusers

SIDE = 64


def kl_shape(latents: int, *, width: int = 8) -> dict[str, Any]:
    """The arguments of an `AutoencoderKL` of *latents* channels that makes 8 x 8 pixels of each latent."""
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": latents,
        "norm_num_groups": 4,
        "block_out_channels": [width] * 4,
        "layers_per_block": 1,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    }


def kl(latents: int = 4, *, scale: float = 0.18215, shift: float | None = None, width: int = 8, **more: Any) -> Any:
    """An `AutoencoderKL`; one with a *shift* has no convolutions round its latents, as FLUX's and SD 3's."""
    has_quant = shift is None
    return diffusers.AutoencoderKL(
        **kl_shape(latents, width=width),
        sample_size=SIDE,
        use_quant_conv=has_quant,
        use_post_quant_conv=has_quant,
        scaling_factor=scale,
        shift_factor=shift,
        **more,
    )


def flux2() -> Any:
    """The autoencoder of FLUX.2 and Ideogram 4."""
    return diffusers.AutoencoderKLFlux2(
        **kl_shape(4), sample_size=SIDE // 2, use_quant_conv=False, use_post_quant_conv=False
    )


def qwen_image() -> Any:
    """The autoencoder of Qwen-Image."""
    return diffusers.AutoencoderKLQwenImage(
        base_dim=16,
        z_dim=4,
        dim_mult=[1, 2, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


def deep_compression() -> Any:
    """An `AutoencoderDC` that makes 32 x 32 pixels of each latent."""
    blocks = ("ResBlock",) * 5 + ("EfficientViTBlock",)
    scales = ((),) * 5 + ((5,),)
    return diffusers.AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=(8,) * 6,
        decoder_block_out_channels=(8,) * 6,
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        encoder_qkv_multiscales=scales,
        decoder_qkv_multiscales=scales,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        scaling_factor=0.41407,
    )


def movq() -> Any:
    """The autoencoder of Kandinsky, which makes 8 x 8 pixels of each latent."""
    return diffusers.VQModel(
        block_out_channels=[32] * 4,  # its norms have 32 groups, whatever is asked
        down_block_types=["DownEncoderBlock2D"] * 3 + ["AttnDownEncoderBlock2D"],
        up_block_types=["AttnUpDecoderBlock2D"] + ["UpDecoderBlock2D"] * 3,
        latent_channels=4,
        vq_embed_dim=4,
        num_vq_embeddings=12,
        layers_per_block=1,
        norm_num_groups=4,
        norm_type="spatial",
    )
