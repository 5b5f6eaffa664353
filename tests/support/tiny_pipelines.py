"""Tiny diffusers pipelines of seven families, with random weights, built offline in about a second each.

`build(family, folder)` writes one as `DiffusionPipeline.from_pretrained` reads it. The same family gives the same
bytes each time. Images of them are noise, and yet every argument of a job changes them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel

SIDE = 64
_TOKENS = 77
_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
_FLOW = diffusers.FlowMatchEulerDiscreteScheduler


def build(family: str, folder: Path) -> Path:
    """Write the tiny pipeline of *family* (a key of `FAMILIES`) to *folder*, readable by all users; gives *folder*."""
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    try:
        pipe = FAMILIES[family]()
    finally:
        torch.random.set_rng_state(state)
    pipe.save_pretrained(folder, safe_serialization=True)
    for path in folder.rglob("*"):  # safetensors files are written for their owner only
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def _alphabet() -> list[str]:
    return sorted(ByteLevel.alphabet())


def clip_tokenizer() -> Any:
    """A tokenizer of single letters; its last two words are the start and the end of a text."""
    letters = _alphabet()
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {word: i for i, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=vocab, merges=[], model_max_length=_TOKENS)


def _clip(kind: Any = transformers.CLIPTextModel, *, activation: str = "quick_gelu") -> Any:
    words = len(clip_tokenizer())
    config = transformers.CLIPTextConfig(
        vocab_size=words,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=_TOKENS,
        projection_dim=32,
        hidden_act=activation,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    return kind(config)


def t5_tokenizer() -> Any:
    """A tokenizer of single letters."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(chr(code), -3.0) for code in range(33, 127)]
    return transformers.T5Tokenizer(vocab=special + letters, extra_ids=0, model_max_length=_TOKENS)


def _t5(width: int) -> Any:
    config = transformers.T5Config(
        vocab_size=len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=64, num_layers=2, num_heads=4
    )
    return transformers.T5EncoderModel(config)


def _qwen_tokenizer() -> Any:
    words = [*_alphabet(), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = transformers.Qwen2Tokenizer(
        vocab={word: i for i, word in enumerate(words)},
        merges=[],
        model_max_length=512,
        additional_special_tokens=words[-2:],
    )
    tokenizer.chat_template = _CHAT
    return tokenizer


def _qwen3(kind: Any = transformers.Qwen3Model, *, layers: int = 2, heads: int = 4) -> Any:
    words = len(_qwen_tokenizer())
    config = transformers.Qwen3Config(
        vocab_size=words,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        head_dim=8,
        max_position_embeddings=512,
        bos_token_id=words - 3,
        eos_token_id=words - 3,
        pad_token_id=words - 3,
    )
    return kind(config)


def _qwen_vision() -> Any:
    words = len(_qwen_tokenizer())
    text = {
        "vocab_size": words,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6},
        "max_position_embeddings": 1024,
        "bos_token_id": words - 3,
        "eos_token_id": words - 3,
        "pad_token_id": words - 3,
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
    config = transformers.Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        vision_start_token_id=0,
        vision_end_token_id=1,
        image_token_id=2,
        video_token_id=3,
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def _vae_shape(latents: int) -> dict[str, Any]:
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": latents,
        "norm_num_groups": 4,
        "block_out_channels": [8] * 4,
        "layers_per_block": 1,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    }


def _vae(latents: int = 4, *, scale: float, shift: float | None = None) -> Any:
    has_quant = shift is None
    return diffusers.AutoencoderKL(
        **_vae_shape(latents),
        sample_size=SIDE,
        use_quant_conv=has_quant,
        use_post_quant_conv=has_quant,
        scaling_factor=scale,
        shift_factor=shift,
    )


def _unet(**extra: Any) -> Any:
    shape: dict[str, Any] = {"cross_attention_dim": 32} | extra
    return diffusers.UNet2DConditionModel(
        block_out_channels=[16, 32],
        layers_per_block=1,
        sample_size=SIDE // 8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=8,
        **shape,
    )


def _sd() -> Any:
    return diffusers.StableDiffusionPipeline(
        vae=_vae(scale=0.18215),
        text_encoder=_clip(),
        tokenizer=clip_tokenizer(),
        unet=_unet(),
        scheduler=diffusers.DDIMScheduler(**_DIFFUSION, clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> Any:
    unet = _unet(
        cross_attention_dim=64,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
        transformer_layers_per_block=[1, 2],
        use_linear_projection=True,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=_vae(scale=0.13025),
        text_encoder=_clip(),
        text_encoder_2=_clip(transformers.CLIPTextModelWithProjection, activation="gelu"),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(**_DIFFUSION, timestep_spacing="leading"),
        add_watermarker=False,
    )


def _sd3() -> Any:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=SIDE // 8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        pos_embed_max_size=64,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        vae=_vae(16, scale=1.5305, shift=0.0609),
        scheduler=_FLOW(shift=3.0),
        text_encoder=_clip(transformers.CLIPTextModelWithProjection),
        tokenizer=clip_tokenizer(),
        text_encoder_2=_clip(transformers.CLIPTextModelWithProjection),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=_t5(64),
        tokenizer_3=t5_tokenizer(),
    )


def _flux() -> Any:
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=[4, 4, 8],
        guidance_embeds=True,
    )
    return diffusers.FluxPipeline(
        transformer=transformer,
        vae=_vae(scale=0.3611, shift=0.1159),
        scheduler=_FLOW(shift=3.0, use_dynamic_shifting=True),
        text_encoder=_clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=_t5(32),
        tokenizer_2=t5_tokenizer(),
    )


def _z_image() -> Any:
    transformer = diffusers.ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=16,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=32,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 64, 64],
    )
    for name in ("x_pad_token", "cap_pad_token"):  # made with torch.empty: whatever lay in memory
        torch.nn.init.normal_(getattr(transformer, name))
    return diffusers.ZImagePipeline(
        scheduler=_FLOW(shift=3.0),
        vae=_vae(16, scale=0.3611, shift=0.1159),
        text_encoder=_qwen3(),
        tokenizer=_qwen_tokenizer(),
        transformer=transformer,
    )


def _flux2_klein() -> Any:
    transformer = diffusers.Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=96,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    return diffusers.Flux2KleinPipeline(
        scheduler=_FLOW(use_dynamic_shifting=True),
        vae=diffusers.AutoencoderKLFlux2(
            **_vae_shape(4), sample_size=SIDE // 2, use_quant_conv=False, use_post_quant_conv=False
        ),
        # The pipeline reads layers 9, 18 and 27, and fills each prompt up to 512 tokens: one head keeps that quick.
        text_encoder=_qwen3(transformers.Qwen3ForCausalLM, layers=28, heads=1),
        tokenizer=_qwen_tokenizer(),
        transformer=transformer,
    )


def _qwen_image() -> Any:
    transformer = diffusers.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(8, 4, 4),
    )
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=16,
        z_dim=4,
        dim_mult=[1, 2, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    return diffusers.QwenImagePipeline(
        scheduler=_FLOW(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=_qwen_vision(),
        tokenizer=_qwen_tokenizer(),
        transformer=transformer,
    )


FAMILIES: dict[str, Callable[[], Any]] = {
    "sd": _sd,
    "sdxl": _sdxl,
    "sd3": _sd3,
    "flux": _flux,
    "z-image": _z_image,
    "flux2-klein": _flux2_klein,
    "qwen-image": _qwen_image,
}
