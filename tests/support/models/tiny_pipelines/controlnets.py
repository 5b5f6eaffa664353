"""Families that make an image after a control image, by a ControlNet beside the denoiser."""

from typing import Any

import diffusers
from diffusers.models.controlnets.controlnet_z_image import ZImageControlNetModel

from tests.support.models.tiny_pipelines import flux, qwen, stable_diffusion, z_image
from tests.support.models.tiny_pipelines.weights import responsive, stirred

_EMBEDDING = (8, 8, 8, 8)  # channels of the control image on its way down to the latents' size


def _controlnet(kind: Any = diffusers.ControlNetModel, **shape: Any) -> Any:
    shape = {"cross_attention_dim": 32} | shape
    controlnet = kind(
        block_out_channels=(16, 32),
        layers_per_block=1,
        in_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        norm_num_groups=8,
        attention_head_dim=8,
        conditioning_embedding_out_channels=_EMBEDDING,
        **shape,
    )
    return stirred(controlnet)


def sd(kind: Any = diffusers.StableDiffusionControlNetPipeline) -> Any:
    """Stable Diffusion 1.5."""
    return stable_diffusion.sd(kind, controlnet=_controlnet())


def sd_pag() -> Any:
    """Stable Diffusion 1.5 with perturbed attention."""
    return sd(diffusers.StableDiffusionControlNetPAGPipeline)


def sdxl(kind: Any = diffusers.StableDiffusionXLControlNetPipeline) -> Any:
    """SDXL."""
    return stable_diffusion.sdxl(kind, controlnet=_controlnet(**stable_diffusion.XL_SHAPE))


def sdxl_pag() -> Any:
    """SDXL with perturbed attention."""
    return sdxl(diffusers.StableDiffusionXLControlNetPAGPipeline)


def sdxl_union() -> Any:
    """SDXL with one ControlNet for several kinds of control images."""
    union = _controlnet(
        diffusers.ControlNetUnionModel,
        **stable_diffusion.XL_SHAPE,
        num_trans_channel=16,
        num_trans_head=2,
        num_proj_channel=16,
    )
    return stable_diffusion.sdxl(diffusers.StableDiffusionXLControlNetUnionPipeline, controlnet=union)


def sd3() -> Any:
    """Stable Diffusion 3."""
    controlnet = stirred(diffusers.SD3ControlNetModel(**stable_diffusion.SD3_SHAPE))
    return stable_diffusion.sd3(diffusers.StableDiffusion3ControlNetPipeline, controlnet=controlnet)


def flux_1() -> Any:
    """FLUX.1."""
    return flux.flux(diffusers.FluxControlNetPipeline, controlnet=stirred(diffusers.FluxControlNetModel(**flux.SHAPE)))


def qwen_image() -> Any:
    """Qwen-Image."""
    controlnet = stirred(diffusers.QwenImageControlNetModel(**qwen.SHAPE))
    pipe = qwen.qwen_image(diffusers.QwenImageControlNetPipeline, controlnet=controlnet)
    responsive(pipe.transformer)
    return pipe


def z_image_plain(kind: Any = diffusers.ZImageControlNetPipeline, *, channels: int = 16) -> Any:
    """Z-Image, whose ControlNet is given *channels* of the control image."""
    controlnet = ZImageControlNetModel(
        **z_image.SHAPE, control_layers_places=[0], control_refiner_layers_places=[0], control_in_dim=channels
    )
    return z_image.z_image(kind, controlnet=stirred(controlnet))


def z_image_inpaint() -> Any:
    """Z-Image that paints within a mask."""
    return z_image_plain(diffusers.ZImageControlNetInpaintPipeline, channels=33)
