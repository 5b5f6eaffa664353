"""The parts of the pipeline, with random weights."""

from typing import Any, Final

import diffusers
import torch
import transformers

from demomodel.head_start import GROUPS, start_as_resize

#: Pixels of the pictures that a job without a size gets.
SIDE: Final = 64
#: Pixels to each side of a latent.
FACTOR: Final = 4
_LATENTS: Final = 4
_WIDTH: Final = 96
_LOG_VARIANCE: Final = -5.0


def autoencoder() -> diffusers.AutoencoderKL:
    """A VAE of three blocks: a latent of four channels stands for 4 x 4 pixels, and varies by the same for all."""
    vae = diffusers.AutoencoderKL(
        block_out_channels=(24, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=_LATENTS,
        layers_per_block=1,
        norm_num_groups=GROUPS,
        sample_size=SIDE,
    )
    start_as_resize(vae)
    with torch.no_grad():
        vae.quant_conv.weight[_LATENTS:] = 0
        vae.quant_conv.bias[_LATENTS:] = _LOG_VARIANCE
    return vae


def denoiser() -> diffusers.UNet2DConditionModel:
    """A UNet of three levels that reads the prompt at the middle one and below."""
    return diffusers.UNet2DConditionModel(
        sample_size=SIDE // FACTOR,
        in_channels=_LATENTS,
        out_channels=_LATENTS,
        block_out_channels=(40, 80, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=_WIDTH,
        attention_head_dim=4,  # the number of heads, as Stable Diffusion's configuration has it
        norm_num_groups=4,
    )


def text_encoder(tokenizer: Any) -> transformers.CLIPTextModel:
    """A CLIP text encoder of two layers for the words of *tokenizer*."""
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=_WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return transformers.CLIPTextModel(config)


def scheduler() -> diffusers.DDIMScheduler:
    """DDIM as Stable Diffusion has it, but for velocities, and with noise that ends without a trace of the picture."""
    return diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.02,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=True,
    )
