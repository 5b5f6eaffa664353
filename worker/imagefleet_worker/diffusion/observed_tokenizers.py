"""Observed tokenizers: what a pipeline's tokenizers make of the texts of each job, noted as the pipeline calls them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from imagefleet_worker.batching.run import DeviceRun


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text that a tokenizer was called with, and what it made of it."""

    tokenizer: str
    """The name of the tokenizer in the pipeline, such as `tokenizer_2`."""
    text: str
    """With everything that the pipeline writes around a prompt."""
    encoding: Any
    """What the library `tokenizers` made of it, with what it cut off as `overflowing`; None for other tokenizers."""


class ObservedTokenizers:
    """Adds every call of the tokenizers of *pipe* to the notes of the run that makes it (*current_run*), until `close`.

    They are observed by a class of their own: a processor, or a chat template, calls them without the pipeline.
    """

    def __init__(self, pipe: Any, current_run: Callable[[], DeviceRun | None]) -> None:
        self._own: list[tuple[PreTrainedTokenizerBase, type[Any]]] = []
        for name, part in pipe.components.items():
            tokenizer = getattr(part, "tokenizer", part)  # a processor has one
            if isinstance(tokenizer, PreTrainedTokenizerBase) and all(tokenizer is not each for each, _ in self._own):
                self._own.append((tokenizer, type(tokenizer)))
                tokenizer.__class__ = _observed(type(tokenizer), name, current_run)

    def close(self) -> None:
        """Observe them no more."""
        for tokenizer, kind in self._own:
            tokenizer.__class__ = kind
        self._own.clear()


def _observed(kind: type[Any], name: str, current_run: Callable[[], DeviceRun | None]) -> type[Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        output, run = kind.__call__(self, *args, **kwargs), current_run()
        if run is None:
            return output
        given: Any = args[0] if args else kwargs.get("text")
        texts: Sequence[Any] = [given] if isinstance(given, str) else given if isinstance(given, Sequence) else []
        encodings: Sequence[Any] = getattr(output, "encodings", None) or [None] * len(texts)
        for text, encoding in dict(zip(texts, encodings, strict=False)).items():  # often the same for each image
            if isinstance(text, str):
                run.notes.append(TokenizedText(name, text, encoding))
        return output

    observed = type(kind.__name__, (kind,), {"__call__": call})
    observed.__module__ = kind.__module__
    return observed
