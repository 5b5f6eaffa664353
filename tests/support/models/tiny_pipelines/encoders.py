"""Text encoders of two layers with random weights, each for a tokenizer of `tokenizers`."""

from typing import Any

import transformers

from tests.support.models.tiny_pipelines.tokenizers import TOKENS, bert_tokenizer, clip_tokenizer, t5_tokenizer


def clip(kind: Any = transformers.CLIPTextModel, *, activation: str = "quick_gelu") -> Any:
    """A CLIP text encoder of class *kind*, 32 wide."""
    words = len(clip_tokenizer())
    config = transformers.CLIPTextConfig(
        vocab_size=words,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        projection_dim=32,
        hidden_act=activation,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    return kind(config)


def clip_vision() -> Any:
    """A CLIP image encoder, 32 wide, for images of 28 x 28 pixels."""
    config = transformers.CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=32,
        image_size=28,
        patch_size=14,
    )
    return transformers.CLIPVisionModelWithProjection(config)


def t5(width: int, *, scale: float = 1.0) -> Any:
    """A T5 encoder, *width* wide, its weights *scale* times as large as they usually are."""
    config = transformers.T5Config(
        vocab_size=len(t5_tokenizer()),
        d_model=width,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        initializer_factor=scale,
    )
    return transformers.T5EncoderModel(config)


def umt5(width: int) -> Any:
    """A UMT5 encoder, *width* wide."""
    config = transformers.UMT5Config(
        vocab_size=len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=64, num_layers=2, num_heads=4
    )
    return transformers.UMT5EncoderModel(config)


def bert(width: int) -> Any:
    """A BERT encoder, *width* wide."""
    config = transformers.BertConfig(
        vocab_size=len(bert_tokenizer()),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
    )
    return transformers.BertModel(config)
