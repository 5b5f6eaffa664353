"""HunyuanImage, with a Qwen VL for the text and a T5 for letters to be written."""

from typing import Any

import diffusers
import transformers

from tests.support.models.tiny_pipelines import language_models
from tests.support.models.tiny_pipelines.stable_diffusion import FLOW
from tests.support.models.tiny_pipelines.tokenizers import qwen_tokenizer
from tests.support.models.tiny_pipelines.weights import responsive


def hunyuan_image() -> Any:
    """HunyuanImage 2.1."""
    transformer = diffusers.HunyuanImageTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=(1, 1),
        text_embed_dim=32,
        text_embed_2_dim=32,
        rope_axes_dim=(8, 8),
    )
    vae = diffusers.AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=1,
        scaling_factor=0.476986,
        spatial_compression_ratio=8,
        sample_size=128,
    )
    letters = transformers.ByT5Tokenizer(model_max_length=512)
    words = transformers.T5Config(vocab_size=len(letters), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    return diffusers.HunyuanImagePipeline(
        scheduler=FLOW(shift=7.0),
        vae=vae,
        text_encoder=language_models.qwen_vision(),
        tokenizer=qwen_tokenizer(),
        text_encoder_2=transformers.T5EncoderModel(words),
        tokenizer_2=letters,
        transformer=responsive(transformer),
        guider=diffusers.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=2),
        ocr_guider=diffusers.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=3),
    )
