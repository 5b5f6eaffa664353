"""Language models with random weights, whose hidden states encode a text, each for a tokenizer of `tokenizers`."""

from typing import Any

import transformers
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

from tests.support.models.tiny_pipelines.tokenizers import (
    gemma_tokenizer,
    glm_image_tokenizer,
    glm_tokenizer,
    qwen_tokenizer,
    qwen_vision_tokenizer,
)

#: Sections of the positions in heads of 16 numbers: time, height, width.
_SECTIONS = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6}


def _decoder_shape(words: int, **more: int) -> dict[str, Any]:
    return {
        "vocab_size": words,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        **more,
    }


def gemma() -> Any:
    """A Gemma decoder, 32 wide."""
    return transformers.GemmaModel(transformers.GemmaConfig(**_decoder_shape(len(gemma_tokenizer()))))


def gemma2(*, layers: int = 2, heads: int = 4) -> Any:
    """A Gemma 2 decoder, 32 wide."""
    shape = _decoder_shape(len(gemma_tokenizer()), num_hidden_layers=layers, num_attention_heads=heads)
    config = transformers.Gemma2Config(**shape | {"num_key_value_heads": max(1, heads // 2)}, query_pre_attn_scalar=8)
    return transformers.Gemma2Model(config)


def t5_gemma() -> Any:
    """The encoder of a T5Gemma, 32 wide."""
    shape = _decoder_shape(len(gemma_tokenizer()))
    encoder = transformers.T5GemmaModuleConfig(**shape, query_pre_attn_scalar=8, layer_types=["full_attention"] * 2)
    config = transformers.T5GemmaConfig(encoder=encoder, is_encoder_decoder=False, **shape)
    model = T5GemmaEncoder(config.encoder)
    model.config = config  # what is written: PRX looks for the encoder's part in the whole model's
    return model


def glm() -> Any:
    """A GLM decoder, 32 wide."""
    end = len(glm_tokenizer()) - 1
    return transformers.GlmModel(transformers.GlmConfig(**_decoder_shape(end + 1, pad_token_id=end, eos_token_id=end)))


def glm_image() -> Any:
    """GLM-Image's language model, 32 wide, which writes tokens of an image out of 128."""
    words = len(glm_image_tokenizer())
    text = {
        "vocab_size": words,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "vision_vocab_size": 128,
        "pad_token_id": glm_image_tokenizer().pad_token_id,
        "eos_token_id": None,
        "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 1e4},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    config = transformers.GlmImageConfig(
        text_config=text,
        vision_config=vision,
        vq_config={"embed_dim": 16, "num_embeddings": 128, "latent_channels": 16},
        image_token_id=glm_image_tokenizer().convert_tokens_to_ids("<|image|>"),
        image_start_token_id=126,
        image_end_token_id=127,
    )
    return transformers.GlmImageForConditionalGeneration(config)


def qwen3(kind: Any = transformers.Qwen3Model, *, layers: int = 2, heads: int = 4) -> Any:
    """A Qwen 3 decoder of class *kind*, 32 wide."""
    words = len(qwen_tokenizer())
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


def qwen_vision() -> Any:
    """A Qwen 2.5 VL model, 32 wide."""
    words = len(qwen_tokenizer())
    text = {
        "vocab_size": words,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": _SECTIONS,
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


def qwen3_vision(kind: Any, *, layers: int = 2, heads: int = 2) -> Any:
    """A Qwen 3 VL model of class *kind*, 32 wide."""
    words = len(qwen_vision_tokenizer())
    text = {
        "vocab_size": words,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": 16,
        "rope_parameters": _SECTIONS,
        "max_position_embeddings": 1024,
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": 32,
        "deepstack_visual_indexes": [0],
    }
    config = transformers.Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        vision_start_token_id=words - 4,
        vision_end_token_id=words - 3,
        image_token_id=words - 2,
        video_token_id=words - 1,
    )
    return kind(config)


def mistral3(*, layers: int) -> Any:
    """A Mistral 3 model, 32 wide."""
    words = len(qwen_tokenizer())
    text = {
        "model_type": "mistral",
        "vocab_size": words,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "sliding_window": None,
    }
    vision = {
        "model_type": "pixtral",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = transformers.Mistral3Config(text_config=text, vision_config=vision, image_token_index=words - 1)
    return transformers.Mistral3ForConditionalGeneration(config)
