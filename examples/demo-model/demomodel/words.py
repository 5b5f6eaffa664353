"""A CLIP tokenizer for which each word of a list is one token, and any other text is letters."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

import transformers
from tokenizers.pre_tokenizers import ByteLevel

_TOKENS: Final = 48
_START: Final = "<|startoftext|>"
_END: Final = "<|endoftext|>"

Pair = tuple[str, str]


def tokenizer(words: Iterable[str]) -> Any:
    """The tokenizer for *words*, which are in lower case."""
    letters = sorted(ByteLevel.alphabet())
    merges = merges_for(words)
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *(left + right for left, right in merges)]
    vocab = {token: number for number, token in enumerate([*dict.fromkeys(tokens), _START, _END])}
    return transformers.CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=_TOKENS)


def merges_for(words: Iterable[str]) -> Sequence[Pair]:
    """Byte-pair merges that make each of *words* one token.

    Pairs join in the order of the list. So a word's own merges, put behind those that are there, join just what these
    leave of it, and change no earlier word.
    """
    merges: dict[Pair, int] = {}
    for word in words:
        pieces = _pieces(word, merges)
        while len(pieces) > 1:
            merges[pieces[0], pieces[1]] = len(merges)
            pieces = _pieces(word, merges)
    return list(merges)


def _pieces(word: str, merges: dict[Pair, int]) -> list[str]:
    pieces = [*word[:-1], f"{word[-1]}</w>"]
    while True:
        known = [pair for pair in pairwise(pieces) if pair in merges]
        if not known:
            return pieces
        pieces = _joined(pieces, min(known, key=merges.__getitem__))


def _joined(pieces: list[str], pair: Pair) -> list[str]:
    joined: list[str] = []
    for piece in pieces:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined
