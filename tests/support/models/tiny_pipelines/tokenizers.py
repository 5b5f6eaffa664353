"""Tokenizers of single letters, one for each kind of text encoder: their vocabularies are made here, not read."""

from typing import Any

import transformers
from tokenizers import Tokenizer, models, processors
from tokenizers.pre_tokenizers import ByteLevel

TOKENS = 77
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: The same, for messages whose content is a list of parts.
CHAT_OF_PARTS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% for part in m['content'] %}{{ part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_LETTERS = [chr(code) for code in range(33, 127)]


def _alphabet() -> list[str]:
    return sorted(ByteLevel.alphabet())


def clip_tokenizer() -> Any:
    """A tokenizer of single letters; its last two words are the start and the end of a text."""
    letters = _alphabet()
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {word: i for i, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=vocab, merges=[], model_max_length=TOKENS)


def t5_tokenizer() -> Any:
    """A tokenizer of single letters."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(letter, -3.0) for letter in _LETTERS]
    return transformers.T5Tokenizer(vocab=special + letters, extra_ids=0, model_max_length=TOKENS)


def bert_tokenizer() -> Any:
    """A tokenizer of single letters: within a word, all but the first have `##` before them."""
    letters = [letter for letter in _LETTERS if letter == letter.lower()]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    vocab = {word: i for i, word in enumerate(words)}
    return transformers.BertTokenizer(vocab=vocab, model_max_length=TOKENS)


def xlm_roberta_tokenizer() -> Any:
    """A tokenizer of single letters."""
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("<mask>", 0.0), ("▁", -2.0)]
    letters = [(letter, -3.0) for letter in _LETTERS]
    return transformers.XLMRobertaTokenizer(vocab=special + letters, model_max_length=TOKENS)


def gemma_tokenizer() -> Any:
    """A tokenizer of single letters, which begins each text with a word and fills up at the right."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *_LETTERS]
    vocab = {word: i for i, word in enumerate(words)}
    return transformers.GemmaTokenizer(
        vocab=vocab, merges=[], model_max_length=TOKENS, padding_side="right", add_bos_token=True
    )


def glm_tokenizer() -> Any:
    """A tokenizer of bytes, which begins each text with a word and fills up at the left."""
    return _glm("<sop>", "<|endoftext|>", pad_token="<|endoftext|>", eos_token="<|endoftext|>")


def glm_image_tokenizer() -> Any:
    """The same with the words that say how large the image is; the chat template is the processor's."""
    tokenizer = _glm(
        "<sop>",
        "<|endoftext|>",
        "<|user|>",
        "<|image|>",
        "<|grid_bos|>",
        "<|grid_eos|>",
        "<|bos|>",
        pad_token="<|endoftext|>",
        bos_token="<|bos|>",
        extra_special_tokens={
            "image_token": "<|image|>",
            "grid_bos_token": "<|grid_bos|>",
            "grid_eos_token": "<|grid_eos|>",
        },
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|user|>{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endfor %}"
    )
    return tokenizer


def _glm(*special: str, **named: Any) -> Any:
    words = [*_alphabet(), *special]
    vocab = {word: i for i, word in enumerate(words)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.TemplateProcessing(
        single="<sop> $A", pair="<sop> $A $B", special_tokens=[("<sop>", vocab["<sop>"])]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, padding_side="left", model_max_length=512, **named
    )


def qwen_tokenizer(*, chat: str = CHAT) -> Any:
    """A tokenizer of bytes; its last two words begin and end a message."""
    return _byte_level("<|endoftext|>", "<|im_start|>", "<|im_end|>", chat=chat)


def qwen_vision_tokenizer() -> Any:
    """A tokenizer of bytes with the words that stand for images."""
    return _byte_level("<|endoftext|>", "<|im_start|>", "<|im_end|>", *_VISION, chat=CHAT_OF_PARTS)


def _byte_level(end: str, *special: str, chat: str) -> Any:
    words = [*_alphabet(), end, *special]
    tokenizer = transformers.Qwen2Tokenizer(
        vocab={word: i for i, word in enumerate(words)},
        merges=[],
        model_max_length=512,
        additional_special_tokens=list(special),
    )
    tokenizer.chat_template = chat
    return tokenizer
